"""The labels' part of every loss: the cross-entropy with them, smoothed and weighted as a run asks."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.logits import precise

UNKNOWN = -1
"""The class of a sample without a label, of which a loss with weights takes no notice."""

ClassWeights = Literal["balanced"] | list[float]


class LabelLoss(nn.Module):
    """Mean over samples, or over the positions that count, of w_y * cross-entropy, smoothed and weighed as
    torch.nn.functional.cross_entropy does.

    The sum is divided by the number of samples or positions, never by the weights that happen to be in a batch:
    `class_weights` have a mean of 1 over the training samples instead. So the loss is the same for any split of a batch
    over processes or accumulated steps, and for mixed labels, and keeps its size beside a method's other terms.

    Args:
        smoothing: share of each label that is spread over all classes, in [0, 1).
        weights: (C,) float, of each class; None weighs all alike.
        ignore_index: a class in labels that is none: such positions don't count; None: all count.
    """

    weights: Tensor | None

    def __init__(self, smoothing: float = 0.0, weights: Tensor | None = None, ignore_index: int | None = None) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.ignore_index = ignore_index
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A scalar, at least float32 whatever comes in.

        Args:
            logits: (N, C) or (N, C, *positions).
            targets: (N, *positions) int64 classes, or float probabilities of the shape of the logits.
        """
        logits, ignored = precise(logits), self.ignore_index
        if self.weights is None and ignored is None:
            return F.cross_entropy(logits, targets, label_smoothing=self.smoothing)
        weights, smoothing = None if self.weights is None else self.weights.to(logits), self.smoothing
        if targets.is_floating_point():  # what is spread is a share of what is known: nothing where nothing is
            targets = torch.lerp(targets, targets.mean(1, keepdim=True), smoothing)
            smoothing = 0.0
        total = F.cross_entropy(
            logits,
            targets,
            weights,
            ignore_index=UNKNOWN if ignored is None else ignored,
            reduction="sum",
            label_smoothing=smoothing,
        )
        return total / (
            logits.numel() // logits.shape[1] if ignored is None else (targets != ignored).sum().clamp_min(1)
        )


class BinaryLoss(LabelLoss):
    """Mean over samples and labels of w * binary cross-entropy.

    Args:
        smoothing: share of each label that is spread over true and false, in [0, 1).
        weights: (2, C) float, of each label where it is false and where it is true; None weighs all alike.
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A scalar, at least float32, for (N, C) logits and labels, which are 0, 1 or between."""
        logits = precise(logits)
        targets = targets.to(logits.dtype)
        weights = None
        if self.weights is not None:
            false, true = self.weights.to(logits)
            weights = torch.lerp(false.expand_as(targets), true.expand_as(targets), targets)
        smoothed = targets * (1 - self.smoothing) + self.smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, weights)


def class_weights(asked: ClassWeights, shown: Tensor) -> Tensor:
    """What `class_weights` means for the samples that a stage shows, with a mean of 1 over them.

    Args:
        asked: "balanced" gives every class the same total weight, by how often it is shown; or a weight for each.
        shown: (C,) share of each class in what is shown; its sum is 1.

    Returns:
        (C,) float32.

    Raises:
        ValueError: not a weight for each class, or weights that leave nothing to learn.
    """
    if asked == "balanced":
        weights = torch.where(shown > 0, 1 / shown.clamp_min(1e-12), 0).double()
        weights[shown == 0] = weights[shown > 0].mean()  # of no use but for smoothed labels
    else:
        weights = _given(asked, len(shown))
    mean = (weights * shown.double()).sum()
    if mean <= 0:
        raise ValueError(f"class_weights={asked}: must be above zero for a class that has training images")
    return (weights / mean).float()


def _given(asked: Sequence[float], classes: int) -> Tensor:
    weights = torch.tensor(asked, dtype=torch.float64)
    if len(weights) != classes:
        raise ValueError(f"class_weights={asked}: must be balanced, or a list of {classes}, one for each class")
    if not (weights.isfinite().all() and (weights >= 0).all()):
        raise ValueError(f"class_weights={asked}: must be finite numbers, zero or more")
    return weights
