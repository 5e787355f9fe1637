"""What a network that says of each label whether it is true is worth on a split."""

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses import kl_divergence
from distill.tasks.average_precision import AveragePrecision, by_label, by_sample
from distill.tasks.evaluation import Evaluation, Scored, Standing
from distill.tasks.thresholds import ThresholdCurve

SHUFFLES = 200  # of the labels among samples, against which a network's standing is measured
DOUBT = 3.1  # standard deviations above chance that one in a thousand guessers gets


def as_binary(logits: Tensor) -> Tensor:
    """(N, C) to (N * C, 2): false, at a logit of 0, and true."""
    return torch.stack([torch.zeros_like(logits), logits], 2).flatten(0, 1)


def binary_kl(logits: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student), the mean over samples and labels of the binary ones."""
    return kl_divergence(as_binary(logits), as_binary(teacher))


class MultiLabelEvaluation(Evaluation):
    """Of (n, C) logits against (n, C) labels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self._precision = AveragePrecision()
        self._decisions = torch.zeros(3, classes, dtype=torch.float64)  # by label: named, true, both
        self._curve = ThresholdCurve()

    def update(self, logits: Tensor, targets: Tensor, teacher: Tensor | None) -> None:
        """Add a batch."""
        said, true, shares = logits >= 0, targets == 1, logits.sigmoid()
        self.count += len(targets)
        self._samples.append(by_sample(logits, true))
        self._precision.update(logits, targets)
        self._decisions += torch.stack([said, true, said & true]).sum(1)
        self._curve.add(shares, targets)
        self.calibration.add(shares.flatten(), true.flatten())
        self._add("exact_match", (said == true).all(1).sum())
        self._add("ce", F.binary_cross_entropy_with_logits(logits, targets.float(), reduction="sum") / self.classes)
        if teacher is not None:
            self._add("agreement", (said == (teacher >= 0)).double().mean(1).sum())
            self._add("kl", len(logits) * binary_kl(logits.double(), teacher.double()))

    def scored(self) -> Scored:
        """Agreement and KL (nats, T = 1) are means over samples and labels."""
        named, true, both = self._decisions
        f1 = 2 * both / (named + true)
        values = {
            "map": float(self._precision.compute()),
            "f1_micro": float(2 * both.sum() / (named + true).sum()),
            "f1_macro": float(f1[true > 0].mean()),
            "exact_match": self._mean("exact_match"),
            "ece": self.calibration.error,
            "agreement": self._mean("agreement"),
            "kl": self._mean("kl"),
        }
        return Scored(values, self._mean("ce") or 0.0, self.calibration, self._curve.drawn())

    def metric(self, weights: Tensor) -> Tensor:
        """mAP over the labels that a resample has."""
        return by_label(*self._precision.gathered(), weights).nanmean(0)

    def by_class(self) -> tuple[Tensor, Tensor]:
        """Average precision of each label."""
        logits, targets = self._precision.gathered()
        return targets.sum(0), by_label(logits, targets)[:, 0]

    def standing(self, chance: float) -> Standing:
        """Against the same answers given to the samples in another order."""
        logits, targets = self._precision.gathered()
        score, generator = float(self._precision.compute()), torch.Generator().manual_seed(0)
        orders = (torch.randperm(self.count, generator=generator) for _ in range(SHUFFLES))
        shuffled = torch.stack([by_label(logits, targets[order])[:, 0].nanmean() for order in orders])
        return Standing(score, self.count, chance, score > float(shuffled.mean() + DOUBT * shuffled.std()))
