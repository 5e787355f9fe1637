"""What a network is worth on a split: gathered batch by batch, and what is left of it in the end."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distill.tasks.calibration import Calibration

Values = dict[str, float | None]
"""Scores by name; None where one is unknown."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a network compares with guessing.

    score: its value of the task's metric on so many samples, `count`.
    chance: what a guesser gets.
    convincing: whether guessing is out of the question.
    percent: whether the metric is a share. noun: what was counted; None: samples, whatever the data calls them.
    """

    score: float
    count: int
    chance: float
    convincing: bool
    percent: bool = True
    noun: str | None = None

    def of(self, noun: str) -> "Standing":
        """The same of samples that are called so."""
        return replace(self, noun=self.noun or noun)

    def __str__(self) -> str:
        score, chance = (f"{value:.1%}" if self.percent else f"{value:.4g}" for value in (self.score, self.chance))
        return f"{score} on {self.count:,} validation {self.noun or 'samples'}, chance is {chance}"


@dataclass(frozen=True, slots=True)
class Curve:
    """Lines for a figure, one of each kind for each network.

    title: of the figure. x: what the horizontal axis is. lines: (points,) y by name. points: (points,) x.
    """

    title: str
    x: str
    points: Tensor
    lines: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Scored:
    """What one network is worth on one split: nothing here grows with the split.

    values: the task's scores by name, None for those that are unknown.
    label_loss: mean of the labels' loss, without smoothing or weights; None where it is not worked out.
    calibration: how often it is right when it says how sure it is; empty where it doesn't say.
    curve: what the task draws of it beside that; None for nothing.
    """

    values: Values
    label_loss: float | None
    calibration: Calibration
    curve: Curve | None = None

    def known(self) -> Values:
        """The scores, None for those that JSON cannot say: an infinite KL, an F1 where nothing is named or true."""
        return {name: v if v is not None and math.isfinite(v) else None for name, v in self.values.items()}


class Evaluation(ABC):
    """What one network is worth on one split, gathered batch by batch on the CPU.

    Attributes:
        count: samples so far.
        calibration: of what it says.
    """

    def __init__(self) -> None:
        self.count = 0
        self.calibration = Calibration()
        self._sums: dict[str, float] = {}
        self._samples: list[Tensor] = []

    @abstractmethod
    def update(self, logits: Tensor, targets: Tensor, teacher: Tensor | None) -> None:
        """Add a batch.

        Args:
            logits: the network's, float32 on the CPU.
            targets: the labels, there too.
            teacher: the teacher's logits; None without one that answers for the same classes, and for itself.
        """

    @abstractmethod
    def scored(self) -> Scored:
        """The result."""

    @abstractmethod
    def metric(self, weights: Tensor) -> Tensor:
        """The task's metric where sample n counts weights[b, n] times: (B, N) float64 to (B,)."""

    @abstractmethod
    def by_class(self) -> tuple[Tensor, Tensor]:
        """How many samples each class has, and the network's score for each: (C,) and (C,)."""

    @abstractmethod
    def standing(self, chance: float) -> Standing:
        """Beside a guesser, who gets `chance`."""

    @property
    def samples(self) -> Tensor:
        """(N,) one score a sample for a paired test: bool where it is right or wrong, float where more is better."""
        return torch.cat(self._samples)

    def _add(self, name: str, total: Tensor) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + float(total)

    def _mean(self, name: str) -> float | None:
        """A mean over samples; None where nothing was added."""
        return self._sums[name] / self.count if name in self._sums else None
