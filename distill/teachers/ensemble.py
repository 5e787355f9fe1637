"""Several teachers that answer as one."""

import copy
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.checkpoint import CheckpointError, load_weights
from distill.errors import SettingError
from distill.losses.logits import precise
from distill.models.frozen import freeze
from distill.models.network import Network
from distill.teachers.base import Teacher
from distill.types import Batch, Outputs

Combine = Literal["logits", "probabilities", "confidence"]


class EnsembleTeacher(Teacher):
    """Networks whose answers are joined to one; features are those of the first.

    Args:
        networks: two or more, of any architectures with the same classes.
        combine: 'logits': their mean. 'probabilities': the logarithm of the probabilities' mean. 'confidence': the
            same, weighted by sample: (1 - exp(c_k) / sum_j exp(c_j)) / (K - 1), c_k the cross-entropy of teacher k with
            the true label, so that who is wrong counts less (CA-MKD, 2201.00007).
    """

    def __init__(self, networks: Sequence[Network], combine: Combine = "logits") -> None:
        if len(networks) < 2:
            raise ValueError(f"networks: {len(networks)} given; an ensemble takes two or more")
        if combine not in get_args(Combine):
            raise ValueError(f"combine={combine!r}: must be one of {', '.join(get_args(Combine))}")
        super().__init__(networks[0])
        self.networks = nn.ModuleList(networks).requires_grad_(False)
        self.combine = combine
        self.eval()

    def answer(self, batch: Batch) -> Outputs:
        """A forward pass of each."""
        outputs: list[Outputs] = [network(batch.images) for network in self.networks]
        with torch.autocast(batch.images.device.type, enabled=False):
            return Outputs(self._joined([each.logits for each in outputs], batch.targets), outputs[0].features)

    def hasten(self, images: Tensor, precision: str) -> str | None:
        """Ask frozen copies from now on."""
        found = [freeze(network, images, precision) for network in self.networks if isinstance(network, Network)]
        self.networks = nn.ModuleList(network for network, _ in found)
        self.network = found[0][0]
        return "; ".join(str(form) for _, form in found if form) or None

    def tap(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """Capture layers of the first network."""
        first = self.networks[0]
        assert isinstance(first, Network)
        return first.tap(patterns)

    def _joined(self, answers: Sequence[Tensor], targets: Tensor) -> Tensor:
        logits = precise(torch.stack(list(answers)))
        if self.combine == "logits":
            return logits.mean(0)
        log_p = logits.log_softmax(2)
        if self.combine == "probabilities":
            weights = torch.full_like(log_p[:, :, :1], 1 / len(log_p))
        else:
            wrong = torch.stack([F.cross_entropy(each, targets, reduction="none") for each in logits])
            weights = ((1 - wrong.softmax(0)) / (len(wrong) - 1)).unsqueeze(2)
        return (log_p + weights.log()).logsumexp(0)


def ensemble(network: Network, checkpoints: Sequence[str], combine: Combine = "logits") -> EnsembleTeacher:
    """The teacher of the run and others of its kind, by their weights.

    Args:
        network: the first.
        checkpoints: files of weights of further networks of the same architecture, such as other seeds' teachers.
        combine: as in `EnsembleTeacher`.

    Raises:
        SettingError: no file is given, or one that doesn't fit.
    """
    if not checkpoints:
        raise SettingError("checkpoints=[]: name the weights of one further teacher or more")
    others = []
    for file in checkpoints:
        other = copy.deepcopy(network)
        try:
            load_weights(other.backbone, file)
        except CheckpointError as error:
            raise SettingError(f"checkpoints: {error}") from error
        others.append(other)
    return EnsembleTeacher([network, *others], combine)
