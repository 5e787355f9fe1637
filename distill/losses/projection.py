"""Logits as the hidden states and the output layer that they are made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.arguments import check_logits
from distill.losses.engine import working_dtype
from distill.losses.top_k import TopK

Rows = slice | Tensor
"""Which positions, of all in a row: a slice, or (n,) int64 indices."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Logits that are not made yet: soft_cap * tanh(scale * (hidden @ weight.T + bias) / soft_cap).

    hidden: (*positions, H) hidden states.
    weight, bias: of the output layer, (V, H) and (V,); any float dtypes. A weight with an adapter on it is their sum.
    scale: multiplies the logits. soft_cap: bounds them after that; None: no bound.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    soft_cap: float | None = None

    @property
    def positions(self) -> torch.Size:
        """The shape of the logits without their classes."""
        return self.hidden.shape[:-1]

    @property
    def classes(self) -> int:
        """V."""
        return self.weight.shape[0]

    def in_a_row(self) -> "Projection":
        """All positions one behind the other."""
        return replace(self, hidden=self.hidden.flatten(0, -2))

    def first(self, classes: int) -> "Projection":
        """The first so many of the logits alone."""
        if classes == self.classes:
            return self
        return replace(self, weight=self.weight[:classes], bias=None if self.bias is None else self.bias[:classes])

    def detach(self) -> "Projection":
        """Without gradients."""
        bias = None if self.bias is None else self.bias.detach()
        return replace(self, hidden=self.hidden.detach(), weight=self.weight.detach(), bias=bias)

    def float(self) -> "Projection":
        """As it is: logits are made in at least float32."""
        return self

    def cpu(self) -> "Projection":
        """On the CPU."""
        hidden, weight, bias = self.hidden.cpu(), self.weight.cpu(), None if self.bias is None else self.bias.cpu()
        return replace(self, hidden=hidden, weight=weight, bias=bias)

    def likeliest(self, chunk: int = 256) -> Tensor:
        """(*positions) int64: the class that is named at each."""
        with torch.no_grad():
            return torch.cat([logits.argmax(-1) for _, logits in self.chunks(chunk)]).view(self.positions)

    def __getitem__(self, index: int | slice | Tensor) -> "Projection":
        """Some of the samples."""
        return replace(self, hidden=self.hidden[index])

    def to(self, dtype: torch.dtype) -> "Projection":
        """The output layer in another dtype."""
        return replace(self, weight=self.weight.to(dtype), bias=None if self.bias is None else self.bias.to(dtype))

    def logits(self, rows: Rows = slice(None), dtype: torch.dtype = torch.float32) -> Tensor:
        """Of some of the positions in a row, (n, V); made in this dtype, or float64 where an input is."""
        dtype = torch.promote_types(dtype, working_dtype(self.hidden, self.weight))
        bias = None if self.bias is None else self.bias.to(dtype)
        with torch.autocast(self.hidden.device.type, enabled=False):
            made = F.linear(self.hidden.flatten(0, -2)[rows].to(dtype), self.weight.to(dtype), bias)
            return self.finished(made)

    def finished(self, products: Tensor) -> Tensor:
        """Logits of what the layer alone gives."""
        logits = products if self.scale == 1 else products * self.scale
        return logits if self.soft_cap is None else self.soft_cap * torch.tanh(logits / self.soft_cap)

    def chunks(self, chunk: int) -> Iterator[tuple[slice, Tensor]]:
        """Positions in a row, and their logits (n, V), so many at a time; one empty chunk where there are none."""
        for start in range(0, max(1, self.positions.numel()), chunk):
            rows = slice(start, start + chunk)
            yield rows, self.logits(rows)


LinearTeacher = Projection
"""What a teacher's `Projection` was called before."""


def linear_top_k(projection: Projection, k: int, temperatures: Sequence[float], *, chunk: int = 256) -> TopK:
    """The k likeliest classes of all positions in a row, with the exact mass of the others at each temperature.

    Raises:
        ValueError: k out of its range.
    """
    with torch.no_grad():
        parts = [TopK.from_logits(logits, k, temperatures) for _, logits in projection.chunks(chunk)]
    values, indices, tails = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("values", "indices", "log_tails")
    )
    return TopK(values, indices, tails, parts[0].temperatures)


def check_projection(whose: str, projection: Projection) -> None:
    """ValueError or TypeError for tensors that do not belong together; `whose` begins the names in the message."""
    hidden, weight, bias = projection.hidden, projection.weight, projection.bias
    check_logits(f"{whose}hidden", hidden)
    check_logits(f"{whose}weight", weight)
    if hidden.dim() < 2 or weight.dim() != 2 or hidden.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"{whose}hidden has shape {tuple(hidden.shape)} and weight {tuple(weight.shape)}; expected (*positions, H) "
            "and (V, H)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"{whose}bias has shape {tuple(bias.shape)}; expected {tuple(weight.shape[:1])}")
    if projection.soft_cap is not None and not projection.soft_cap > 0:
        raise ValueError(f"{whose}soft_cap={projection.soft_cap}: must be above 0, or None for no bound")
