"""Losses that are not finite: found at the step, in all processes alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from distill.processes import of_all_processes, process_and_count, sum_over_processes
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

    def find(self, module: pl.LightningModule, gradients: list[Tensor] | None = None) -> str | None:
        """The first batch since the last look whose terms are not finite, in words; the same in all processes, which
        have to ask at once. None where all are finite.

        Args:
            module: whose trainer knows the processes.
            gradients: looked at too.
        """
        noted, self._noted = self._noted, []
        finite = [term.isfinite() for each in noted for term in each.terms.values()]
        bad = ~torch.stack(finite).all() if finite else torch.tensor(False)
        if gradients:
            bad = bad | ~torch.nn.utils.get_total_norm([gradient.float() for gradient in gradients]).isfinite()
        several = process_and_count()[1] > 1
        if not float(sum_over_processes(bad.float().to(module.device)) if several else bad):
            return None
        said = next((said for each in noted if (said := each.said()) is not None), None)
        everywhere = of_all_processes(said)
        last = noted[-1] if noted else None
        unknown = f"the gradient is not finite in step {last.step} (epoch {last.epoch})" if last else "the gradient"
        return next((each for each in everywhere if each is not None), unknown)

    def check(self, module: pl.LightningModule) -> None:
        """Raise FloatingPointError for a loss that is not finite, if that ends the run."""
        if self.action == "stop" and (said := self.find(module)):
            raise FloatingPointError(advice(said))

    @torch.no_grad()
    def skipped_step(self, module: pl.LightningModule, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the loss or a gradient is not finite; then the step that the optimizer is about to take is left out.

        A gradient that overflows in float16 is for the loss scale to deal with.
        """
        scaled = getattr(module.trainer.precision_plugin, "scaler", None) is not None
        gradients = [] if scaled else [weight.grad for weight in module.parameters() if weight.grad is not None]
        said = self.find(module, gradients)
        if said is None:
            return False
        optimizer.zero_grad(set_to_none=True)
        for buffer, before in self._buffers:
            buffer.copy_(before)
        self.skipped += 1
        self.first = self.first or said
        return True

    def refuse_empty_epoch(self) -> None:
        """Raise FloatingPointError for an epoch without a step, if steps were left out."""
        if self.first is not None:
            raise FloatingPointError(f"on_nonfinite=skip left out every step of an epoch: {advice(self.first)}")


def advice(said: str) -> str:
    """What to do about a loss that is not finite."""
    return f"{said}: lower optimizer.lr, or use trainer.precision=32-true; on_nonfinite=skip leaves such steps out"
