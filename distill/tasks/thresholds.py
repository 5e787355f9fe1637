"""Precision, recall and F1 by the probability from which on a label is named."""

from torch import Tensor
from torchmetrics.classification import BinaryPrecisionRecallCurve

from distill.tasks.evaluation import Curve

THRESHOLDS = 101  # of the probability, in equal steps


class ThresholdCurve:
    """Gathers answers of a split, batch by batch."""

    def __init__(self) -> None:
        self._counts = BinaryPrecisionRecallCurve(thresholds=THRESHOLDS, sync_on_compute=False)

    def add(self, shares: Tensor, true: Tensor) -> None:
        """Add (n, C) probabilities, and labels of 0 and 1 of that shape."""
        self._counts.update(shares.flatten(), true.flatten())

    def drawn(self) -> Curve:
        """Over all answers; the F1 of a threshold at which nothing is named is 0."""
        precision, recall, thresholds = self._counts.compute()
        precision, recall = precision[:-1], recall[:-1]  # the last is of no threshold
        f1 = (2 * precision * recall / (precision + recall).clamp_min(1e-12)).nan_to_num(0)
        lines = {"precision": precision, "recall": recall, "F1": f1}
        return Curve("a label is named from this probability on", "threshold", thresholds, lines)
