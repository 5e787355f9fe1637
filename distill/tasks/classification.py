"""Classification: each sample is of exactly one class."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor, nn
from torchmetrics.classification import MulticlassCalibrationError

from distill.errors import SettingError
from distill.losses import kl_divergence
from distill.methods.labels import UNKNOWN, ClassWeights, LabelLoss, class_weights
from distill.methods.view import Trait
from distill.tasks.base import Metric, Task, comparable
from distill.tasks.calibration import BINS
from distill.tasks.decisions import Decisions, decisions
from distill.tasks.doubts import softmax_doubt
from distill.tasks.evaluation import Evaluation, Scored, Standing
from distill.types import Outputs

DOUBT = 1e-3  # a guesser does as well as this with a probability above it: not better by a clear margin
TOP = 5  # classes that are named for each sample


class Classification(Task):
    """Labels (N,) int64, logits (N, classes), a softmax between them. Mixed labels are (N, classes) probabilities."""

    name = "classification"
    metric = Metric("accuracy", higher_is_better=True, words="accuracy")
    score_names = ("accuracy", "ece", "agreement", "kl", "f1", "mcc")
    targets_form = "integers, or (N, classes) probabilities"
    script = """\
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    print(file, way["classes"][shares.argmax()], f"{shares.max():.4f}", sep="\\t")
"""

    @property
    def traits(self) -> frozenset[Trait]:
        """All there are."""
        return frozenset({"exclusive classes", "a class for each sample"})

    # ------------------------------------------------------------------------------------------ labels

    def check_targets(self, label: str, targets: Tensor, classes: int) -> None:
        """(N,) int64 from 0 to classes - 1."""
        if targets.ndim != 1:
            raise SettingError(f"{label} labels are of shape {tuple(targets.shape)}; must be (N,) class numbers")
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= classes:
            raise SettingError(
                f"{label} labels run from {low} to {high}, and there are {classes} classes: 0 to {classes - 1}"
            )

    def as_targets(self, targets: Tensor) -> Tensor | None:
        """(N,) and (N, 1) of any integer type as int64; (N, 2 or more) floats as they are."""
        single = targets.ndim > 1 and targets.shape[1] == 1
        if targets.is_floating_point():
            return None if targets.ndim < 2 or single else targets
        return (targets.squeeze(1) if single else targets).long()

    def check_told_apart(self, name: str, targets: Tensor, class_names: Sequence[str]) -> None:
        """At least two classes."""
        present = targets.unique().tolist()
        if len(present) < 2:
            raise SettingError(
                f"data: {name} has training images of one class only ({class_names[present[0]]}): there is "
                "nothing to tell apart; give images of two classes or more, each with a folder or a number of its own"
            )

    def counts(self, targets: Tensor, classes: int) -> Tensor:
        """Samples of each class."""
        return targets.bincount(minlength=classes)

    def strata(self, targets: Tensor) -> Tensor:
        """The classes."""
        return targets

    def balanced(self, targets: Tensor) -> Tensor:
        """The classes."""
        return targets

    def shown(self, targets: Tensor, classes: int, *, balanced: bool) -> Tensor:
        """Their sum is 1."""
        counts = self.counts(targets, classes)
        counts = counts.clamp_max(1) if balanced else counts
        return counts / counts.sum()

    def as_probabilities(self, targets: Tensor, classes: int) -> Tensor:
        """One-hot; all 0 where no label is known."""
        return F.one_hot(targets.clamp_min(0), classes).float() * (targets != UNKNOWN).unsqueeze(1)

    def renumbered(self, targets: Tensor, numbers: Tensor, classes: int) -> Tensor:
        """Class `numbers[i]` in place of i."""
        return numbers[targets]

    def blank(self, count: int, classes: int) -> Tensor:
        """The first class."""
        return torch.zeros(count, dtype=torch.long)

    def in_words(self, targets: Tensor, classes: int) -> str:
        """'in 10 classes of 36 to 40'."""
        counts = self.counts(targets, classes)
        low, high = int(counts.min()), int(counts.max())
        return f"in {classes} classes {f'of {low:,}' if low == high else f'of {low:,} to {high:,}'}"

    # ------------------------------------------------------------------------------------------ learning

    def as_distributions(self, logits: Tensor) -> Tensor:
        """They are."""
        return logits

    def as_classes(self, targets: Tensor) -> Tensor:
        """They are."""
        return targets

    def label_loss(self, smoothing: float = 0.0, weights: Tensor | None = None) -> nn.Module:
        """Cross-entropy."""
        return LabelLoss(smoothing, weights)

    def class_weights(self, asked: ClassWeights, shown: Tensor) -> Tensor:
        """(C,)."""
        return class_weights(asked, shown)

    def measure(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Accuracy where a label is known; with a teacher also agreement with it, and its entropy in nats.

        Args:
            logits: (N, C) of the network that is deployed.
            answers: the teacher's; None without one.
            targets: (N,) int64 classes, or (N, C) float probabilities.
        """
        with torch.no_grad():
            chosen = logits.argmax(1)
            mixed = targets.is_floating_point()
            classes, known = (targets.argmax(1), targets.any(1)) if mixed else (targets, targets != UNKNOWN)
            values = {"accuracy": ((chosen == classes) & known).sum() / known.sum().clamp_min(1)}
            if answers is not None and comparable(logits, answers):
                values["agreement"] = (chosen == answers.likeliest()).float().mean()
                if answers.top_k is None:
                    values["teacher_entropy"] = torch.special.entr(answers.logits.float().softmax(1)).sum(1).mean()
        return values

    def measure_unseen(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Accuracy and cross-entropy; with a teacher agreement and KL(teacher || student)."""
        values = self.measure(logits, answers, targets)
        values.pop("teacher_entropy", None)
        values["ce"] = F.cross_entropy(logits.float(), targets)
        if answers is not None and comparable(logits, answers):
            values["kl"] = kl_divergence(logits, answers.logits)
        return values

    # ------------------------------------------------------------------------------------------ evidence

    def evaluation(self, classes: int) -> Evaluation:
        """Accuracy, calibration, agreement."""
        return _Evaluation(classes)

    def chance(self, targets: Tensor) -> float:
        """Share of the most frequent class."""
        return float(targets.bincount().max() / len(targets))

    def decisions(self, logits: Tensor, targets: Tensor) -> Decisions | None:
        """One a sample."""
        return decisions(logits, targets)

    def disagreement(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """The product of both probabilities, where the likeliest classes differ."""
        (sure, said), (teacher_sure, taught) = (x.softmax(1).max(1) for x in (logits, teacher))
        return torch.where(said != taught, sure * teacher_sure, 0.0)

    def answer(self, logits: Tensor, target: Tensor, class_names: Sequence[str]) -> tuple[str, bool]:
        """The likeliest class, and how likely it is."""
        share, named = logits.softmax(0).max(0)
        return f"{_short(class_names[int(named)])} ({float(share):.0%})", bool(named == target)

    def truth(self, target: Tensor, class_names: Sequence[str]) -> str:
        """The class."""
        return _short(class_names[int(target)])

    def outputs_doubt(self, role: str, logits: Tensor, *, trained: bool) -> str | None:
        """Probabilities."""
        return softmax_doubt(role, logits, trained=trained)

    # ------------------------------------------------------------------------------------------ tables

    def named_columns(self, class_names: Sequence[str]) -> list[str]:
        """class, probability, class2, probability2, ..."""
        more = [f"{head}{i}" for i in range(2, min(TOP, len(class_names)) + 1) for head in ("class", "probability")]
        return ["class", "probability", *more]

    def named(self, logits: Tensor, class_names: Sequence[str]) -> list[list[str]]:
        """The likeliest classes."""
        shares, best = logits.softmax(1).topk(min(TOP, len(class_names)))
        return [
            [cell for named, share in zip(*row, strict=True) for cell in (class_names[named], f"{share:.6f}")]
            for row in zip(best.tolist(), shares.tolist(), strict=True)
        ]

    def compared_columns(self, class_names: Sequence[str]) -> list[str]:
        """The classes, and the student's probability."""
        return ["target", "predicted", "probability", "teacher"]

    def compared(
        self, logits: Tensor, teacher: Tensor | None, targets: Tensor, class_names: Sequence[str]
    ) -> list[list[str]]:
        """The likeliest classes."""
        shares, named = logits.softmax(1).max(1)
        taught = [None] * len(named) if teacher is None else teacher.argmax(1).tolist()
        rows = zip(targets.tolist(), named.tolist(), shares.tolist(), taught, strict=True)
        return [
            [class_names[target], class_names[best], f"{share:.6f}", "" if other is None else class_names[other]]
            for target, best, share, other in rows
        ]


class _Evaluation(Evaluation):
    """Of (n, C) logits against (n,) classes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self._ece = MulticlassCalibrationError(classes, n_bins=BINS, norm="l1", sync_on_compute=False)
        self._counts, self._named, self._right = torch.zeros(3, classes, dtype=torch.long)

    def update(self, logits: Tensor, targets: Tensor, teacher: Tensor | None) -> None:
        """Add a batch."""
        chosen, (confidence, likeliest) = logits.argmax(1), logits.softmax(1).max(1)
        right = chosen == targets
        self.count += len(targets)
        self._samples.append(right)
        self._counts += targets.bincount(minlength=self.classes)
        self._named += chosen.bincount(minlength=self.classes)
        self._right += targets[right].bincount(minlength=self.classes)
        self._ece.update(logits.softmax(1), targets)
        self.calibration.add(confidence, likeliest == targets)
        self._add("ce", F.cross_entropy(logits, targets, reduction="sum"))
        if teacher is not None:
            self._add("agreement", (chosen == teacher.argmax(1)).sum())
            self._add("kl", kl_divergence(logits.double(), teacher.double(), reduction="sum"))

    def scored(self) -> Scored:
        """Accuracy; calibration error over 15 equal bins; agreement; mean KL(teacher || network) in nats at T = 1.

        Also F1, of two classes the second's, of more the mean of those that occur or are named; and Matthews'
        correlation, 0 where one class alone is named or there.
        """
        f1 = 2 * self._right.double() / (self._counts + self._named).clamp_min(1)
        values = {
            "accuracy": float(self.samples.double().mean()),
            "ece": float(self._ece.compute()),
            "agreement": self._mean("agreement"),
            "kl": self._mean("kl"),
            "f1": float(f1[1] if self.classes == 2 else f1[(self._counts + self._named) > 0].mean()),
            "mcc": _matthews(self._counts, self._named, self._right),
        }
        return Scored(values, self._mean("ce") or 0.0, self.calibration)

    def metric(self, weights: Tensor) -> Tensor:
        """Accuracy."""
        return weights @ self.samples.double() / weights.sum(1)

    def by_class(self) -> tuple[Tensor, Tensor]:
        """Share of each class's samples that is named right."""
        return self._counts, self._right / self._counts

    def standing(self, chance: float) -> Standing:
        """By the exact binomial test."""
        right = int(self.samples.sum())
        convincing = bool(binomtest(right, self.count, chance, alternative="greater").pvalue < DOUBT)
        return Standing(right / self.count, self.count, chance, convincing)


def _matthews(counts: Tensor, named: Tensor, right: Tensor) -> float:
    """The correlation of labels and named classes, of (C,) samples that have, are named, and are rightly named each."""
    total, there, said = float(counts.sum()), counts.double(), named.double()
    apart = float((total**2 - (said @ said)) * (total**2 - (there @ there)))
    return (float(right.sum()) * total - float(said @ there)) / apart**0.5 if apart > 0 else 0.0


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"
