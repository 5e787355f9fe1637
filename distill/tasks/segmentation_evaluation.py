"""What a network that names the class of each pixel is worth on a split."""

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses import kl_divergence
from distill.tasks.evaluation import Evaluation, Scored, Standing
from distill.tasks.iou import confusion, mean_iou

RESAMPLES = 200  # of the images, against whose spread a network's standing is measured
DOUBT = 3.1  # standard deviations above chance that one in a thousand guessers gets


class SegmentationEvaluation(Evaluation):
    """Of (n, C, H, W) logits against (n, H, W) masks.

    Args:
        classes: how many there are.
        ignored: in masks, a pixel that doesn't count.
    """

    def __init__(self, classes: int, ignored: int) -> None:
        super().__init__()
        self.classes, self.ignored = classes, ignored
        self._counts: list[Tensor] = []  # (n, 3, C) of each image: pixels named right, true and named, by class
        self._pixels = 0

    def update(self, logits: Tensor, targets: Tensor, teacher: Tensor | None) -> None:
        """Add a batch."""
        counting, (confidence, chosen) = targets != self.ignored, logits.softmax(1).max(1)
        matrices = confusion(chosen, targets, self.classes, self.ignored)
        self.count += len(targets)
        self._pixels += int(counting.sum())
        self._samples.append(mean_iou(matrices).nan_to_num(1.0))  # of an image without a pixel that counts
        right, true, named = matrices.diagonal(dim1=1, dim2=2), matrices.sum(2), matrices.sum(1)
        self._counts.append(torch.stack([right, true, named], 1))
        self.calibration.add(confidence[counting], (chosen == targets)[counting])
        self._add("ce", F.cross_entropy(logits, targets, ignore_index=self.ignored, reduction="sum"))
        if teacher is not None:
            self._add("agreement", (chosen == teacher.argmax(1))[counting].sum())
            self._add("kl", kl_divergence(logits.double(), teacher.double(), mask=counting, reduction="sum"))

    def _mean(self, name: str) -> float | None:
        """Over the pixels that count."""
        return self._sums[name] / max(1, self._pixels) if name in self._sums else None

    def scored(self) -> Scored:
        """Agreement and KL (nats, T = 1) are means over pixels."""
        right, true, _ = self._totals()
        values = {
            "miou": self._score(),
            "accuracy": float(right.sum().double() / true.sum()),
            "ece": self.calibration.error,
            "agreement": self._mean("agreement"),
            "kl": self._mean("kl"),
        }
        return Scored(values, self._mean("ce") or 0.0, self.calibration)

    def metric(self, weights: Tensor) -> Tensor:
        """mIoU of the pixels of all images together."""
        right, true, named = (weights @ part for part in torch.cat(self._counts).double().unbind(1))
        return (right / (true + named - right)).nanmean(1)

    def by_class(self) -> tuple[Tensor, Tensor]:
        """Pixels, and IoU, of each class."""
        right, true, named = self._totals()
        return true, right.double() / (true + named - right)

    def _totals(self) -> Tensor:
        """(3, C) over all images."""
        return torch.cat(self._counts).sum(0)

    def _score(self) -> float:
        return float(self.metric(torch.ones(1, self.count, dtype=torch.float64)))

    def standing(self, chance: float) -> Standing:
        """By resampling the images."""
        drawn = torch.randint(self.count, (RESAMPLES, self.count), generator=torch.Generator().manual_seed(0))
        weights = torch.zeros(drawn.shape, dtype=torch.float64).scatter_add_(1, drawn, torch.ones(drawn.shape).double())
        score, spread = self._score(), float(self.metric(weights).std())
        return Standing(score, self.count, chance, score - DOUBT * spread > chance)
