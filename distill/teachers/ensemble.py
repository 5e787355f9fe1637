"""An ensemble: several teachers whose outputs are averaged."""

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from distill.devices import to_device
from distill.errors import SettingError
from distill.inputs import Inputs
from distill.losses.formulas import MASKED
from distill.losses.logits import precise
from distill.models.frozen import freeze
from distill.models.metadata import with_weights
from distill.models.network import Network
from distill.models.weights_file import CheckpointError
from distill.teachers.base import Teacher
from distill.teachers.inputs import TeacherInputs
from distill.types import Batch, Outputs

log = logging.getLogger(__name__)

Combine = Literal["logits", "probabilities", "confidence", "learned"]


class EnsembleTeacher(Teacher):
    """Networks whose answers are joined to one; features are those of the first.

    Args:
        networks: two or more, of any architectures with the same classes.
        combine: 'logits': their mean. 'probabilities': the logarithm of the probabilities' mean. 'confidence': the
            same, weighted by sample: (1 - exp(c_k) / sum_j exp(c_j)) / (K - 1), c_k the cross-entropy of teacher k with
            the true label, so that who is wrong counts less (CA-MKD, 2201.00007). 'learned': the same, with one weight
            a teacher, w = softmax(a), a = 0 at first, fitted to the true labels: -log sum_k w_k p_k(label) is
            minimised (stacking of predictive distributions, Yao et al., 1704.02030). Each training batch is answered
            first, then a moves one step down the batch's mean gradient. The student has no say, or whoever is easiest
            to imitate would win. The labels should be new to the teachers, or equally known to all: who has learned
            them by heart looks better than it is.
        learning_rate: of a, with 'learned'; with batches of N, a trembles by about sqrt(learning_rate / 4N) in the end.
    """

    def __init__(self, networks: Sequence[Network], combine: Combine = "logits", learning_rate: float = 1.0) -> None:
        if len(networks) < 2:
            raise ValueError(f"networks: {len(networks)} given; an ensemble takes two or more")
        if combine not in get_args(Combine):
            raise ValueError(f"combine={combine!r}: must be one of {', '.join(get_args(Combine))}")
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate={learning_rate}: must be above 0 and finite")
        super().__init__(networks[0])
        self.networks = nn.ModuleList(networks).requires_grad_(False)
        self.combine = combine
        self.learning_rate = learning_rate
        self._scores = torch.zeros(len(networks))  # no buffer: in half precision, small steps would be lost
        self._unlogged = False  # whether anything was learned since weights were last logged
        self.eval()

    @property
    def weights(self) -> Tensor:
        """(K,) each teacher's share in the mean of probabilities; equal until they are learned."""
        return self._scores.softmax(0)

    def predict(self, batch: Batch) -> Outputs:
        """A forward pass of each."""
        outputs: list[Outputs] = [network(batch.inputs) for network in self.networks]
        with torch.autocast(batch.device.type, enabled=False):
            return Outputs(self._joined([each.made() for each in outputs], batch), outputs[0].features)

    def optimize_for_inference(self, inputs: Inputs, precision: str) -> None:
        """Ask frozen copies from now on."""
        found = [freeze(network, inputs, precision) for network in self.networks if isinstance(network, Network)]
        self.networks = nn.ModuleList(network for network, _ in found)
        self.network = found[0][0]
        self.form = "; ".join(form for _, form in found)

    def tap(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """Capture layers of the first network."""
        first = self.networks[0]
        assert isinstance(first, Network)
        return first.tap(patterns)

    def moving_state_dict(self) -> dict[str, Any]:
        """What has been learned."""
        return {"scores": self._scores} if self.combine == "learned" else {}

    def load_moving_state_dict(self, state: dict[str, Any]) -> None:
        """As `moving_state_dict` gave it."""
        self._scores = state["scores"]

    def _joined(self, answers: Sequence[Tensor], batch: Batch) -> Tensor:
        logits = precise(torch.stack(list(answers)))
        if self.combine == "logits":
            return logits.mean(0)
        log_p = logits.log_softmax(2)
        if self.combine == "confidence":
            wrong = torch.stack([F.cross_entropy(each, batch.targets, reduction="none") for each in logits])
            wrong = wrong.clamp_max(-MASKED)  # of a teacher that rules out the true class
            weights = (1 - wrong.softmax(0)) / (len(wrong) - 1)
            return (log_p + weights.log().unsqueeze(2)).logsumexp(0)
        self._scores = to_device(self._scores, log_p.device)
        scores = self._scores.to(log_p.dtype)
        if self.combine == "learned" and batch.split == "train":
            self._learn(log_p, scores, batch.targets)
        elif batch.split == "val" and self._unlogged:
            log.info("weights of the teachers: %s", ", ".join(f"{weight:.3f}" for weight in self.weights.tolist()))
            self._unlogged = False
        return _mixture(log_p, scores)

    def _learn(self, log_p: Tensor, scores: Tensor, targets: Tensor) -> None:
        """One step from these scores, the same in all processes."""
        self._unlogged = True
        with torch.enable_grad():
            scores = scores.detach().requires_grad_()
            loss = F.cross_entropy(_mixture(log_p.clamp_min(MASKED), scores), targets)
            (gradient,) = torch.autograd.grad(loss, scores)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(gradient)
            gradient /= dist.get_world_size()
        self._scores = scores.detach() - self.learning_rate * gradient


def _mixture(log_p: Tensor, scores: Tensor) -> Tensor:
    """Logarithm of the mean of probabilities, (K, N, C, ...) -> (N, C, ...), weighted by the softmax of (K,) scores."""
    return (log_p + scores.log_softmax(0).reshape(-1, *[1] * (log_p.dim() - 1))).logsumexp(0)


def ensemble(
    network: Network,
    checkpoints: Sequence[str],
    combine: Combine = "logits",
    learning_rate: float = 1.0,
    inputs: TeacherInputs | None = None,
) -> EnsembleTeacher:
    """The teacher of the run and others of its kind, by their weights.

    Args:
        network: the first.
        checkpoints: files of weights of further networks of the same architecture, such as other seeds' teachers.
        combine, learning_rate: as in `EnsembleTeacher`.
        inputs: what the teacher is shown; None for images of exclusive classes.

    Raises:
        SettingError: no file is given, or one that doesn't fit; probabilities of classes that don't exclude each other.
    """
    if inputs is not None and combine != "logits" and "exclusive classes" not in inputs.source.task.traits:
        task = inputs.source.task.name
        raise SettingError(f"combine={combine}: needs exclusive classes, which {task} data has not; must be logits")
    if not checkpoints:
        raise SettingError("checkpoints=[]: name the weights of one further teacher or more")
    try:
        others = [with_weights(network, file) for file in checkpoints]
    except CheckpointError as error:
        raise SettingError(f"checkpoints: {error}") from error
    return EnsembleTeacher([network, *others], combine, learning_rate)
