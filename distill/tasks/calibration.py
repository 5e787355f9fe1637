"""How often a network is right when it says how sure it is."""

import torch
from torch import Tensor

BINS = 15


class Calibration:
    """Counts by confidence, in equal bins of [0, 1] (1706.04599).

    Attributes:
        totals: (3, bins) float64: how many answers, how many of them right, and the sum of their confidences.
    """

    def __init__(self, bins: int = BINS) -> None:
        self.totals = torch.zeros(3, bins, dtype=torch.float64)

    def add(self, confidence: Tensor, right: Tensor) -> None:
        """Add answers: their (n,) probabilities, and whether each was right, (n,) bool."""
        bins = self.totals.shape[1]
        place = (confidence * bins).long().clamp_max(bins - 1)
        for row, values in zip(self.totals, (None, right.double(), confidence.double()), strict=True):
            row += torch.bincount(place, values, minlength=bins)

    def __add__(self, other: "Calibration") -> "Calibration":
        both = Calibration(self.totals.shape[1])
        both.totals = self.totals + other.totals
        return both

    @property
    def count(self) -> Tensor:
        """(bins,)."""
        return self.totals[0]

    @property
    def right(self) -> Tensor:
        """(bins,) share that was right; NaN where a bin is empty."""
        return self.totals[1] / self.totals[0]

    @property
    def confidence(self) -> Tensor:
        """(bins,) mean; NaN where a bin is empty."""
        return self.totals[2] / self.totals[0]

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap between confidence and share right, by answer."""
        count, right, confidence = self.totals
        return float((right - confidence).abs().sum() / count.sum())
