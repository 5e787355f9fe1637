"""A training step of a stage, computed in one way or another and timed."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from torch import Tensor

from distill.losses.logits import ruled_out
from distill.models.modes import evaluating
from distill.models.network import Network
from distill.training.module import DistillModule
from distill.types import Batch, Outputs

FIRST = 0.06  # seconds that a CPU's first step in a way may take beside the step itself: kernels are chosen and made
AGAIN = 1.15  # what a time may be divided by when it is taken again


@dataclass(frozen=True, slots=True)
class Way:
    """How a step is computed: precision as Lightning names it, and whether maps lie channels last in memory."""

    precision: str
    channels_last: bool

    @property
    def layout(self) -> str:
        """In words."""
        return "channels last" if self.channels_last else "channels first"

    def context(self, device: torch.device) -> AbstractContextManager[None]:
        """Around a forward pass, as the trainer has it."""
        mixed = self.precision in ("bf16-mixed", "16-mixed")
        plugin = MixedPrecision(self.precision, device.type) if mixed else Precision()  # type: ignore[arg-type]
        return plugin.forward_context()


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long something takes, as far as it has been measured: from `least` to `most`."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class TimedStep:
    """A stage's training step.

    module: on networks of its own, whose weights stay.
    batch: the first images that it will see, at most as many as in a step.
    images: that the stage trains on, over all epochs.
    flops: of training on one image.
    spent: on a step, in each way that was tried.
    """

    module: DistillModule
    batch: Batch
    images: int
    flops: int
    spent: dict[Way, Seconds] = field(default_factory=dict)

    def sizes(self, way: Way) -> dict[str, float]:
        """Norms of answers, loss and gradient, by these names; NaN or infinite where they are not finite.

        Answers are the logits in evaluation mode of the student and of who teaches it, but for those of -inf. What a
        training step moves beside weights stays as it was.
        """
        module = self.module
        buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
        self._lay_out(way)
        with evaluating(module.deployed), torch.no_grad(), way.context(self.batch.device):
            outputs: list[Outputs] = [module.deployed(self.batch.inputs)]
            if module.teacher is not None:
                outputs.append(module.teacher(self.batch))
        logits = [each.made().detach().double().flatten() for each in outputs]
        found = {"answer": float(torch.cat([each[~ruled_out(each)] for each in logits]).norm()), **self.take(way)}
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        return found

    def take(self, way: Way) -> dict[str, float]:
        """Take the step and time it, with the same random draws each time. Norms of the loss's terms and of its
        gradient; no weight moves."""
        self._lay_out(way)
        module, batch, device = self.module.train(), self.batch, self.batch.device
        torch.manual_seed(0)
        start = _now(device)
        with way.context(device):
            answers = None if module.teacher is None else module.teacher(batch)
            terms: Mapping[str, Tensor] = module.method(module.student(batch.inputs), answers, batch)
            loss = torch.stack([term.float() for term in terms.values()])
        loss.sum().backward()
        self.note(way, _now(device) - start)
        gradients = [weight.grad.float() for weight in module.parameters() if weight.grad is not None]
        found = {"loss": float(loss.detach().norm()), "gradient": float(torch.nn.utils.get_total_norm(gradients))}
        module.zero_grad(set_to_none=True)
        return found

    def note(self, way: Way, seconds: float) -> None:
        """Of all steps in a way the fastest counts. The first is not only of the step: a GPU's says nothing of it."""
        if way in self.spent:
            most = min(seconds, self.spent[way].most)
            self.spent[way] = Seconds(most / AGAIN, most)
        else:
            known = self.batch.device.type == "cpu"
            self.spent[way] = Seconds(max(seconds - FIRST, seconds / 2) if known else 0.0, seconds)

    def _lay_out(self, way: Way) -> None:
        """Arrange the networks' weights for a way."""
        for part in (self.module, self.module.deployed, self.module.teacher):
            for network in [] if part is None else part.modules():
                if isinstance(network, Network):
                    network.lay_out(channels_last=way.channels_last)


def _now(device: torch.device) -> float:
    """On a CPU the time of this thread, which other work on the machine may stop but not lengthen."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.thread_time() if device.type == "cpu" else time.perf_counter()
