"""Means of what each training and validation batch measures."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class RunningMeans:
    """Means of named scalars, kept on their device: adding costs one small kernel, and only reading waits for it."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._values: list[Tensor] = []
        self._weights: list[float] = []
        self._step_start = 0

    def add(self, values: Mapping[str, Tensor | float], weight: float = 1.0) -> None:
        """Add one batch's scalars; every batch has the same names, and all scalars are tensors or all numbers."""
        self._names = list(values)
        scalars = [torch.as_tensor(value).detach().float() for value in values.values()]
        self._values.append(torch.stack(scalars) if scalars else torch.empty(0))
        self._weights.append(weight)

    def end_step(self) -> None:
        """The next batch belongs to another step of the optimizer."""
        self._step_start = len(self._values)

    def step(self) -> dict[str, float]:
        """Plain means over the batches of the current step of the optimizer: one, or as many as are accumulated."""
        batches = self._values[self._step_start :]
        return dict(zip(self._names, torch.stack(batches).mean(0).tolist(), strict=True)) if batches else {}

    def first_not_finite(self) -> tuple[int, dict[str, float]]:
        """The number, from 0, of the first batch since `epoch` with values that aren't finite; those values."""
        values = torch.stack(self._values).cpu() if self._values else torch.zeros(1, 0)
        number = int(values.isfinite().all(1).logical_not().int().argmax())
        row = zip(self._names, values[number].tolist(), strict=False)
        return number, {name: value for name, value in row if not math.isfinite(value)}

    def epoch(self, add_up: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """Weighted means since the last call; of all processes, if `add_up` gives the sum of a vector over them."""
        if not self._values:
            return {}
        weights, values = torch.tensor(self._weights, dtype=torch.float64), torch.stack(self._values).cpu().double()
        sums = torch.cat([weights @ values, weights.sum()[None]])
        *totals, weight = (sums if add_up is None else add_up(sums)).tolist()
        self._values.clear()
        self._weights.clear()
        self._step_start = 0
        return {name: total / weight for name, total in zip(self._names, totals, strict=True)}
