"""Losses that are not finite: found at the step, in all processes alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distill.types import Batch

OnNonfinite = Literal["stop", "skip"]
MOST_NAMED = 64  # samples


@dataclass(frozen=True, slots=True)
class _Noted:
    step: int
    epoch: int
    number: int
    terms: Mapping[str, Tensor]
    indices: Tensor | None

    def said(self) -> str | None:
        """Which terms are not finite, and where; None where all are."""
        values = {name: float(term) for name, term in self.terms.items() if not bool(term.isfinite())}
        if not values:
            return None
        named = ", ".join(f"{name}={value}" for name, value in values.items())
        return f"{named} in step {self.step} (epoch {self.epoch}, batch {self.number}{self._samples()})"

    def _samples(self) -> str:
        if self.indices is None:
            return ""
        indices = self.indices.tolist()
        more = f" and {len(indices) - MOST_NAMED} more" if len(indices) > MOST_NAMED else ""
        return f" of samples {', '.join(map(str, indices[:MOST_NAMED]))}{more}"


class LossWatch:
    """Remembers each batch's terms until they are looked at, which waits for the device.

    Attributes:
        action: 'stop' ends the run; 'skip' leaves out the step of the optimizer.
        skipped: steps left out.
        first: the first of them, in words.
    """

    def __init__(self, action: OnNonfinite) -> None:
        self.action = action
        self.skipped = 0
        self.first: str | None = None
        self._noted: list[_Noted] = []
        self._buffers: list[tuple[Tensor, Tensor]] = []

    def begin(self, module: nn.Module) -> None:
        """Before a forward pass: what it may spoil beside weights (BatchNorm's statistics) is kept where steps are left
        out, as it was before the first batch of the step."""
        if self.action == "skip" and not self._noted:
            self._buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]

    def note(self, terms: Mapping[str, Tensor], batch: Batch, step: int, epoch: int, number: int) -> None:
        """A batch's weighted terms, a scalar each; nothing waits for them. `step` and `epoch` count from 1."""
        kept = {name: term.detach() for name, term in terms.items()}
        self._noted.append(_Noted(step, epoch, number, kept, batch.indices))

    def find(self, over_processes: Callable[[Tensor], Tensor], gradients: list[Tensor] | None = None) -> str | None:
        """The first batch since the last look whose terms are not finite, in words; the same in all processes, which
        have to ask at once. None where all are finite.

        Args:
            over_processes: the sum of a tensor over all processes.
            gradients: looked at too.
        """
        noted, self._noted = self._noted, []
        finite = [term.isfinite() for each in noted for term in each.terms.values()]
        bad = ~torch.stack(finite).all() if finite else torch.tensor(False)
        if gradients:
            bad = bad | ~torch.nn.utils.get_total_norm([gradient.float() for gradient in gradients]).isfinite()
        if not float(over_processes(bad.float())):
            return None
        said = next((said for each in noted if (said := each.said()) is not None), None)
        everywhere: list[str | None] = [said]
        if dist.is_available() and dist.is_initialized():
            everywhere = [None] * dist.get_world_size()
            dist.all_gather_object(everywhere, said)
        last = noted[-1] if noted else None
        unknown = f"the gradient is not finite in step {last.step} (epoch {last.epoch})" if last else "the gradient"
        return next((each for each in everywhere if each is not None), unknown)

    @torch.no_grad()
    def skip(self, optimizer: torch.optim.Optimizer, said: str) -> None:
        """Leave out the step that the optimizer is about to take: what has no gradient stays as it is."""
        optimizer.zero_grad(set_to_none=True)
        for buffer, before in self._buffers:
            buffer.copy_(before)
        self.skipped += 1
        self.first = self.first or said


def advice(said: str) -> str:
    """What to do about a loss that is not finite."""
    return f"{said}: lower optimizer.lr, or use trainer.precision=32-true; on_nonfinite=skip leaves such steps out"
