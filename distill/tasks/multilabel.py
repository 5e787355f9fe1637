"""Multi-label classification: each of a sample's labels is true or not, whatever the others are."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor, nn

from distill.errors import SettingError
from distill.methods.labels import BinaryLoss, ClassWeights
from distill.methods.view import Trait
from distill.tasks.average_precision import AveragePrecision
from distill.tasks.base import Metric, Task, comparable
from distill.tasks.decisions import Decisions, decisions
from distill.tasks.evaluation import Evaluation
from distill.tasks.multilabel_evaluation import MultiLabelEvaluation, as_binary, binary_kl
from distill.types import Outputs


class MultiLabel(Task):
    """Labels (N, C) of 0 and 1, logits (N, C), a sigmoid between them. Mixed labels are float in [0, 1].

    To methods each label of each sample is a row of two classes, false and true, with logits 0 and z: the softmax of
    (0, z) / T is the sigmoid of z / T, and a divergence is the mean of the binary one over samples and labels.
    """

    name = "multilabel"
    metric = Metric("map", higher_is_better=True, words="mAP")
    score_names = ("map", "f1_micro", "f1_macro", "exact_match", "ece", "agreement", "kl")
    columns: ClassVar[Mapping[str, str]] = {"F1": "f1_micro", "macro F1": "f1_macro", "exact match": "exact_match"}
    noun = "labels"
    confidence, share_right = "probability", "share true"
    targets_form = "(N, labels) of 0 and 1, or between where labels are mixed"
    script = """\
    shares = 1 / (1 + np.exp(-logits))
    named = [name for name, share in zip(way["classes"], shares) if share >= 0.5]
    print(file, ";".join(named), *(f"{name}={share:.4f}" for name, share in zip(way["classes"], shares)), sep="\\t")
"""

    @property
    def traits(self) -> frozenset[Trait]:
        """None."""
        return frozenset()

    # ------------------------------------------------------------------------------------------ labels

    def check_targets(self, label: str, targets: Tensor, classes: int) -> None:
        """(N, classes) int64 of 0 and 1."""
        if targets.ndim != 2 or targets.shape[1] != classes:
            raise SettingError(f"{label} labels are {tuple(targets.shape)}; must be (N, {classes}), 0 or 1 each")
        if not ((targets == 0) | (targets == 1)).all():
            raise SettingError(f"{label} labels run from {targets.min()} to {targets.max()}; must be 0 or 1")

    def check_measurable(self, name: str, targets: Tensor) -> None:
        """At least one label that some sample has: mAP is a mean over those."""
        if not targets.any():
            raise SettingError(f"data: {name}: no image to be scored has any label; must have some")

    def as_targets(self, targets: Tensor) -> Tensor | None:
        """(N, C) of any integer type, or bool, as int64; floats as they are."""
        # On a GPU nobody looks at the numbers, for which each step would have to wait.
        if targets.ndim != 2 or (targets.device.type == "cpu" and not ((targets >= 0) & (targets <= 1)).all()):
            return None
        return targets if targets.is_floating_point() else targets.long()

    def check_told_apart(self, name: str, targets: Tensor, class_names: Sequence[str]) -> None:
        """At least one label that some samples have and others have not."""
        share = targets.double().mean(0)
        if not ((share > 0) & (share < 1)).any():
            raise SettingError(
                f"data: {name} has training images whose labels are all alike; must be some with a label, some without"
            )

    def counts(self, targets: Tensor, classes: int) -> Tensor:
        """Samples that have each label."""
        return targets.sum(0)

    def strata(self, targets: Tensor) -> Tensor:
        """By the rarest of its labels; those without any are a group of their own."""
        order = targets.sum(0).argsort(stable=True)
        return torch.where(targets.any(1), order[targets[:, order].argmax(1)], targets.shape[1])

    def balanced(self, targets: Tensor) -> Tensor:
        """There is no such thing."""
        raise SettingError(
            "data.sampling=balanced: shows every class equally often, and an image has several labels at once; use "
            "class_weights=balanced, by which each label's images count as much as those without it"
        )

    def shown(self, targets: Tensor, classes: int, *, balanced: bool) -> Tensor:
        """The prevalence of each label."""
        if balanced:
            self.balanced(targets)
        return targets.float().mean(0)

    def as_probabilities(self, targets: Tensor, classes: int) -> Tensor:
        """As floats."""
        return targets.float()

    def renumbered(self, targets: Tensor, numbers: Tensor, classes: int) -> Tensor:
        """Label i in column `numbers[i]`; the others are false."""
        return targets.new_zeros(len(targets), classes).index_copy_(1, numbers, targets)

    def blank(self, count: int, classes: int) -> Tensor:
        """None is true."""
        return torch.zeros(count, classes, dtype=torch.long)

    def in_words(self, targets: Tensor, classes: int) -> str:
        """'with 20 labels of 12 to 400, 1.5 on each'."""
        low, high = map(int, self.counts(targets, classes).aminmax())
        return f"with {classes} labels of {low:,} to {high:,}, {float(targets.sum() / len(targets)):.1f} on each"

    # ------------------------------------------------------------------------------------------ learning

    def as_distributions(self, logits: Tensor) -> Tensor:
        """(N, C) to (N * C, 2): false, at a logit of 0, and true."""
        return as_binary(logits)

    def as_classes(self, targets: Tensor) -> Tensor:
        """(N * C,); (N * C, 2) of mixed labels."""
        mixed = targets.is_floating_point()
        return (torch.stack([1 - targets, targets], 2) if mixed else targets).flatten(0, 1)

    def label_loss(self, smoothing: float = 0.0, weights: Tensor | None = None) -> nn.Module:
        """Binary cross-entropy."""
        return BinaryLoss(smoothing, weights)

    def class_weights(self, asked: ClassWeights, shown: Tensor) -> Tensor:
        """(2, C), for false and for true.

        balanced: the samples with a label and those without it have the same total weight, and 1 as the mean over all.
        A list: a weight for each label, divided by their mean.
        """
        if asked == "balanced":
            share = torch.stack([1 - shown, shown]).double()
            never = ((share == 0) | (share == 1)).any(0)
            return torch.where(never, 1.0, 0.5 / share).float()
        weights = torch.tensor(asked, dtype=torch.float64)
        if weights.shape != shown.shape:
            raise ValueError(f"class_weights={asked}: must be balanced, or a list of {len(shown)}, one for each label")
        if not (weights.isfinite().all() and (weights >= 0).all() and weights.any()):
            raise ValueError(f"class_weights={asked}: must be finite numbers, zero or more, not all of them zero")
        return (weights / weights.mean()).float().expand(2, -1)

    def measure(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Share of labels named right; with a teacher agreement with it, and its entropy in nats, means over labels."""
        with torch.no_grad():
            said = logits >= 0
            values = {"label_accuracy": (said == (targets >= 0.5)).float().mean()}
            if answers is not None and comparable(logits, answers):
                values["agreement"] = (said == (answers.logits >= 0)).float().mean()
                shares = self.as_distributions(answers.logits.float()).softmax(1)
                values["teacher_entropy"] = torch.special.entr(shares).sum(1).mean()
        return values

    def measure_unseen(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Share of labels named right, and cross-entropy; with a teacher agreement and KL(teacher || student)."""
        values = self.measure(logits, answers, targets)
        values.pop("teacher_entropy", None)
        values["ce"] = F.binary_cross_entropy_with_logits(logits.float(), targets.float())
        if answers is not None and comparable(logits, answers):
            values["kl"] = binary_kl(logits, answers.logits)
        return values

    def epoch_metrics(self) -> dict[str, torchmetrics.Metric]:
        """mAP."""
        return {"map": AveragePrecision()}

    # ------------------------------------------------------------------------------------------ evidence

    def evaluation(self, classes: int) -> Evaluation:
        """mAP, F1 and exact match at a probability of 0.5, calibration, agreement."""
        return MultiLabelEvaluation(classes)

    def chance(self, targets: Tensor) -> float:
        """Mean prevalence of the labels that some sample has."""
        share = targets.double().mean(0)
        return float(share[share > 0].mean())

    def decisions(self, logits: Tensor, targets: Tensor) -> Decisions | None:
        """One for each label of each sample: false or true."""
        return decisions(self.as_distributions(logits), self.as_classes(targets))

    def compared_with_right(self, shares: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """How likely each label is, and whether it is true."""
        return shares[:, 1], classes == 1

    def disagreement(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """The largest difference of the probabilities of a label that one says is true, and the other isn't."""
        differ = (logits >= 0) != (teacher >= 0)
        return (differ * (logits.sigmoid() - teacher.sigmoid()).abs()).amax(1)

    def answer(self, logits: Tensor, target: Tensor, class_names: Sequence[str]) -> tuple[str, bool]:
        """The labels that are said to be true."""
        return _listed(logits >= 0, class_names), bool(((logits >= 0) == (target == 1)).all())

    def truth(self, target: Tensor, class_names: Sequence[str]) -> str:
        """The labels that are true."""
        return _listed(target == 1, class_names)

    def outputs_doubt(self, role: str, logits: Tensor, *, trained: bool) -> str | None:
        """Probabilities, of which a second sigmoid leaves little."""
        if not trained or not bool(((logits >= 0) & (logits <= 1)).all()):
            return None
        return (
            f"{role}'s outputs: values lie between 0 and 1, so these are probabilities already (sigmoid), and a second "
            "sigmoid makes all of them true: let the network give what it has before its last sigmoid"
        )

    # ------------------------------------------------------------------------------------------ tables

    def named_columns(self, class_names: Sequence[str]) -> list[str]:
        """The labels that are named, then each label's probability."""
        return ["labels", *class_names]

    def named(self, logits: Tensor, class_names: Sequence[str]) -> list[list[str]]:
        """Those at or above 0.5."""
        said, shares = _names(logits >= 0, class_names), logits.sigmoid().tolist()
        return [[names, *(f"{share:.6f}" for share in row)] for names, row in zip(said, shares, strict=True)]

    def compared_columns(self, class_names: Sequence[str]) -> list[str]:
        """The labels that are true and those that are named, then the student's probability of each."""
        return ["target", "predicted", "teacher", *class_names]

    def compared(
        self, logits: Tensor, teacher: Tensor | None, targets: Tensor, class_names: Sequence[str]
    ) -> list[list[str]]:
        """Those at or above 0.5."""
        taught = [""] * len(logits) if teacher is None else _names(teacher >= 0, class_names)
        rows = zip(_names(targets == 1, class_names), taught, self.named(logits, class_names), strict=True)
        return [[target, predicted, other, *shares] for target, other, (predicted, *shares) in rows]


def _names(said: Tensor, class_names: Sequence[str]) -> list[str]:
    """For each row of (N, C) bool the names, joined by semicolons."""
    return [";".join(name for name, yes in zip(class_names, row, strict=True) if yes) for row in said.tolist()]


def _listed(said: Tensor, class_names: Sequence[str]) -> str:
    """The names in a few characters."""
    names = ", ".join(name for name, yes in zip(class_names, said.tolist(), strict=True) if yes) or "none"
    return names if len(names) <= 22 else f"{names[:21]}…"
