"""Scores of a network's outputs: accuracy, fidelity to the teacher, calibration. Built on torchmetrics."""

import math
from dataclasses import asdict, dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from distill.losses import kl_divergence

CALIBRATION_BINS = 15
DOUBT = 1e-3  # a guesser does as well as this with a probability above it: not better by a clear margin


@dataclass(frozen=True, slots=True)
class Metric:
    """A measure by which epochs are compared.

    name: as it is logged. higher_is_better: its direction. words: what to call it.
    """

    name: str
    higher_is_better: bool
    words: str

    def gain(self, value: float, other: float) -> float:
        """How much better a value is than another; negative where it is worse."""
        return value - other if self.higher_is_better else other - value


ACCURACY = Metric("val/accuracy", higher_is_better=True, words="accuracy")


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one network on one split.

    accuracy: share of samples named right, in [0, 1].
    ece: expected calibration error over 15 equal bins (1706.04599), in [0, 1].
    agreement: share of samples where network and teacher name the same class; None without a teacher.
    kl: mean KL(teacher || network) in nats at temperature 1; None without a teacher.
    """

    accuracy: float
    ece: float
    agreement: float | None = None
    kl: float | None = None

    def known(self) -> dict[str, float | None]:
        """By name, None for what is unknown or infinite (the KL of a network that rules out what its teacher names)."""
        values = asdict(self).items()
        return {name: value if value is not None and math.isfinite(value) else None for name, value in values}


UNKNOWN = Scores(math.nan, math.nan)  # of a network whose classes are not the data's


def score(logits: Tensor, targets: Tensor, teacher_logits: Tensor | None = None) -> Scores:
    """Scores of (N, C) logits against (N,) labels and, where given, the teacher's (N, C) logits."""
    logits = logits.float()
    classes = logits.shape[1]
    accuracy = (logits.argmax(1) == targets).double().mean()
    ece = multiclass_calibration_error(
        logits.softmax(1), targets, num_classes=classes, n_bins=CALIBRATION_BINS, norm="l1"
    )
    if teacher_logits is None:
        return Scores(float(accuracy), float(ece))
    agreement = (logits.argmax(1) == teacher_logits.argmax(1)).double().mean()
    kl = kl_divergence(logits.double(), teacher_logits.double())
    return Scores(float(accuracy), float(ece), float(agreement), float(kl))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a network compares with guessing.

    right, count: samples named right, of how many.
    chance: share that naming the most frequent class always would get right.
    """

    right: int
    count: int
    chance: float

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor) -> "Standing":
        """Of (N, C) logits for (N,) labels, N at least 1."""
        right = int((logits.argmax(1) == targets).sum())
        return cls(right, len(targets), float(targets.bincount().max() / len(targets)))

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return self.right / self.count

    @property
    def convincing(self) -> bool:
        """Whether guessing is out of the question, by the exact binomial test."""
        return bool(binomtest(self.right, self.count, self.chance, alternative="greater").pvalue < DOUBT)

    def __str__(self) -> str:
        return f"{self.accuracy:.1%} on {self.count:,} validation images, chance is {self.chance:.1%}"


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Whether one network beats another on the same samples, by the exact test on the samples where they differ.

    gained: samples that only the first names right.
    lost: samples that only the second names right.
    p_value: of a difference as large as this between equally good networks, two-sided (McNemar, exact binomial).
    """

    gained: int
    lost: int
    p_value: float


def paired_test(logits: Tensor, other: Tensor, targets: Tensor) -> PairedTest:
    """McNemar's exact test of two networks' (N, C) logits against (N,) labels."""
    right, other_right = logits.argmax(1) == targets, other.argmax(1) == targets
    gained, lost = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return PairedTest(gained, lost, p_value)


def reliability(logits: Tensor, targets: Tensor, bins: int = CALIBRATION_BINS) -> tuple[Tensor, Tensor, Tensor]:
    """Accuracy, mean confidence and count of each confidence bin, (bins,) each; NaN where a bin is empty."""
    confidence, chosen = logits.float().softmax(1).max(1)
    right = (chosen == targets).float()
    place = (confidence * bins).long().clamp_max(bins - 1)
    count = torch.bincount(place, minlength=bins).float()
    return (
        torch.bincount(place, weights=right, minlength=bins) / count,
        torch.bincount(place, weights=confidence, minlength=bins) / count,
        count,
    )
