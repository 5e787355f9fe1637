"""Intersection over union of classes, from counts of positions by true and by named class."""

import torch
import torchmetrics
from torch import Tensor

MOST_CLASSES = 256  # as many as a mask of one byte a pixel can tell


def confusion(named: Tensor, targets: Tensor, classes: int, ignored: int) -> Tensor:
    """How many positions of each sample are of one class and are said to be of another.

    Args:
        named, targets: (n, *positions) whole numbers below `classes`, targets `ignored` where they don't count.
        classes: how many there are.
        ignored: see above.

    Returns:
        (n, classes, classes) int64, true classes first.
    """
    named, targets = named.flatten(1).long(), targets.flatten(1).long()
    samples = torch.arange(len(targets), device=targets.device)[:, None]
    places = (samples * classes + targets) * classes + named
    counts = torch.bincount(places[targets != ignored], minlength=len(targets) * classes**2)
    return counts.view(-1, classes, classes)


def iou(confusion: Tensor) -> Tensor:
    """(..., classes, classes) counts to (..., classes) float64; NaN for classes that neither occur nor are named."""
    counts = confusion.double()
    both = counts.diagonal(dim1=-2, dim2=-1)
    return both / (counts.sum(-1) + counts.sum(-2) - both)


def mean_iou(confusion: Tensor) -> Tensor:
    """(..., classes, classes) counts to (...) float64: over the classes that occur or are named."""
    return iou(confusion).nanmean(-1)


class MeanIoU(torchmetrics.Metric):
    """The mean IoU of a split, from one matrix of counts over all its positions, whatever batches or processes.

    Args:
        ignored: in labels, a position that doesn't count.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, ignored: int) -> None:
        super().__init__(sync_on_compute=False)
        self.ignored = ignored
        zeros = torch.zeros(MOST_CLASSES, MOST_CLASSES, dtype=torch.long)
        self.add_state("counts", zeros, dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add (n, classes, *positions) logits and (n, *positions) labels."""
        classes = logits.shape[1]
        self.counts[:classes, :classes] += confusion(logits.argmax(1), targets, classes, self.ignored).sum(0)

    def compute(self) -> Tensor:
        """A scalar; NaN before the first position."""
        return mean_iou(self.counts)


class PixelAccuracy(MeanIoU):
    """The share of all positions that are named right."""

    def compute(self) -> Tensor:
        """A scalar; NaN before the first position."""
        return self.counts.diagonal().sum().double() / self.counts.sum()
