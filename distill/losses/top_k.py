"""Top-k logits as a cache keeps them, with the exact mass of the other classes at chosen temperatures.

A `SparseTeacher` is one temperature's view of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from distill.losses.sparse import SparseTeacher


@dataclass(frozen=True, slots=True)
class TopK:
    """The k largest logits of each row or position, and what all others weigh at each of a few temperatures.

    values: (N, k, *positions) logits less the largest, in falling order, any float dtype; the first is 0.
    indices: (N, k, *positions) int32 class indices.
    log_tails: (N, temperatures, *positions) log of the sum of exp((logit - largest) / T) over the classes left out;
        -inf for none.
    temperatures: those T. At any other, the mass of the tail cannot be known.
    """

    values: Float[Tensor, "n k *positions"]
    indices: Int[Tensor, "n k *positions"]
    log_tails: Float[Tensor, "n t *positions"]
    temperatures: tuple[float, ...]

    @classmethod
    def from_logits(cls, logits: Float[Tensor, "n c *positions"], k: int, temperatures: Sequence[float]) -> "TopK":
        """Of (N, C, *positions) logits, 1 <= k <= C, in at least float32. The tail is the sum of what is in it.

        Raises:
            ValueError: k out of its range.
        """
        if not 1 <= k <= logits.shape[1]:
            raise ValueError(f"k={k}: must be from 1 to the number of classes, {logits.shape[1]}")
        logits = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
        values, indices = logits.topk(k, dim=1)
        largest = values[:, :1]
        rest = (logits - largest).scatter(1, indices, -float("inf"))
        tails = torch.stack([(rest / t).logsumexp(1) for t in temperatures], 1)
        return cls(values - largest, indices.to(torch.int32), tails, tuple(temperatures))

    def at(self, temperature: float) -> SparseTeacher:
        """The distribution at one of the temperatures.

        Raises:
            ValueError: it is none of them.
        """
        if temperature not in self.temperatures:
            known = ", ".join(f"{t:g}" for t in self.temperatures)
            raise ValueError(f"temperature={temperature:g}: the mass of the tail is known at {known} only")
        tail = self.log_tails[:, self.temperatures.index(temperature)].float()
        values = self.values.float().movedim(1, -1) / temperature
        total = torch.logaddexp(values.logsumexp(-1), tail)
        return SparseTeacher(values - total.unsqueeze(-1), self.indices.movedim(1, -1), tail - total, temperature)

    def map(self, function: Callable[[Tensor], Tensor]) -> "TopK":
        """What a function makes of each of the three tensors."""
        values, indices, tails = map(function, (self.values, self.indices, self.log_tails))
        return TopK(values, indices, tails, self.temperatures)
