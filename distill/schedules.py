"""Schedules: the factor on a base value as a function of how much of the training is done, from 0 to 1.

Fractions rather than epochs, so that one schedule serves stages of any length.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

Schedule = Callable[[float], float]


class Constant:
    """Factor 1 throughout, after a linear rise from 0.

    Args:
        warmup: share of the training spent rising, in [0, 1).
    """

    def __init__(self, warmup: float = 0.0) -> None:
        self.warmup = share("warmup", warmup, below_one=True)

    def __call__(self, progress: float) -> float:
        """The factor at `progress` in [0, 1]."""
        return risen(progress, self.warmup)


class Cosine:
    """Rises linearly from 0 during warm-up, then falls as half a cosine (1608.03983, without restarts).

    Args:
        warmup: share of the training spent rising, in [0, 1).
        final: factor at the end, in [0, 1].
    """

    def __init__(self, warmup: float = 0.0, final: float = 0.0) -> None:
        self.warmup = share("warmup", warmup, below_one=True)
        self.final = share("final", final)

    def __call__(self, progress: float) -> float:
        """The factor at `progress` in [0, 1]."""
        if progress < self.warmup:
            return risen(progress, self.warmup)
        falling = (progress - self.warmup) / (1 - self.warmup)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * falling)) / 2


class MultiStep:
    """Multiplied by `gamma` at each milestone: the schedule of the published CIFAR-100 tables.

    Args:
        milestones: shares of the training, increasing, in (0, 1).
        gamma: factor at each, in (0, 1].
        warmup: share of the training spent rising linearly from 0, in [0, 1).
    """

    def __init__(
        self, milestones: Sequence[float] = (0.625, 0.75, 0.875), gamma: float = 0.1, warmup: float = 0.0
    ) -> None:
        if any(not 0 < m < 1 for m in milestones) or list(milestones) != sorted(milestones):
            raise ValueError(
                f"milestones={list(milestones)}: must be increasing shares of the training between 0 and 1"
            )
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma={gamma}: must be above 0 and at most 1")
        self.milestones = tuple(milestones)
        self.gamma = gamma
        self.warmup = share("warmup", warmup, below_one=True)

    def __call__(self, progress: float) -> float:
        """The factor at `progress` in [0, 1]."""
        fallen = float(self.gamma ** sum(progress >= milestone for milestone in self.milestones))
        return risen(progress, self.warmup) * fallen


class Ramp:
    """Goes from one factor to another and stays there: a warm-up, a ramp, a decay.

    Args:
        start, end: factors before and after, zero or more.
        until: share of the training at which `end` is reached, above 0.
        begin: share at which `start` is left.
        curve: "linear", or "cosine", which leaves and arrives gently.
    """

    def __init__(
        self,
        start: float = 0.0,
        end: float = 1.0,
        until: float = 1.0,
        begin: float = 0.0,
        curve: Literal["linear", "cosine"] = "linear",
    ) -> None:
        for name, factor in (("start", start), ("end", end)):
            if not 0 <= factor < float("inf"):
                raise ValueError(f"{name}={factor}: must be a finite factor, zero or more")
        if share("begin", begin) >= share("until", until):
            raise ValueError(f"until={until}: must be above begin={begin}")
        if curve not in ("linear", "cosine"):
            raise ValueError(f"curve={curve!r}: must be linear or cosine")
        self.start, self.end, self.begin, self.until, self.curve = start, end, begin, until, curve

    def __call__(self, progress: float) -> float:
        """The factor at `progress` in [0, 1]."""
        done = min(max((progress - self.begin) / (self.until - self.begin), 0.0), 1.0)
        if self.curve == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return self.start + (self.end - self.start) * done


def risen(progress: float, warmup: float) -> float:
    """The factor of a linear warm-up from 0 that takes this share of the training."""
    return progress / warmup if progress < warmup else 1.0


def share(name: str, value: float, *, below_one: bool = False) -> float:
    """The value, if it is a share of a whole; ValueError otherwise."""
    if not 0 <= value <= 1 or (below_one and value == 1):
        raise ValueError(f"{name}={value}: must be a share between 0 and 1{', below 1' if below_one else ''}")
    return value
