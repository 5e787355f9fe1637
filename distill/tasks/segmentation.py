"""Semantic segmentation: each pixel of an image is of exactly one class, or of none that counts."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor, nn

from distill.errors import SettingError
from distill.losses import kl_divergence
from distill.methods.labels import ClassWeights, LabelLoss, class_weights
from distill.methods.view import Trait
from distill.placement import Placement
from distill.tasks.base import Metric, Task, comparable
from distill.tasks.colours import painted
from distill.tasks.decisions import Decisions, decisions
from distill.tasks.doubts import softmax_doubt
from distill.tasks.evaluation import Evaluation
from distill.tasks.iou import MeanIoU, PixelAccuracy, confusion, mean_iou
from distill.tasks.segmentation_evaluation import SegmentationEvaluation
from distill.types import Outputs

IGNORED = 255  # in masks: a pixel that doesn't count


class SemanticSegmentation(Task):
    """Masks (N, H, W), of which splits hold uint8 and batches int64; logits (N, classes, H, W), a softmax between them.

    To methods each pixel that counts is a row: divergences and the labels' loss are means over these pixels.

    Args:
        ignore_index: in masks, a pixel that doesn't count.
    """

    name = "segmentation"
    metric = Metric("miou", higher_is_better=True, words="mIoU")
    score_names = ("miou", "accuracy", "ece", "agreement", "kl")
    columns: ClassVar[Mapping[str, str]] = {"pixel accuracy": "accuracy"}
    dtype = torch.uint8
    moves = True
    script = """\
    mask = Path(file).with_suffix(".mask.png")
    Image.fromarray(logits.argmax(0).astype(np.uint8)).save(mask)
    shares = np.bincount(logits.argmax(0).ravel(), minlength=len(logits)) / logits[0].size
    print(file, mask, *(f"{name}={share:.4f}" for name, share in zip(way["classes"], shares) if share), sep="\\t")
"""

    def __init__(self, ignore_index: int = IGNORED) -> None:
        self.ignore_index = ignore_index

    @property
    def traits(self) -> frozenset[Trait]:
        """Of each pixel."""
        return frozenset({"exclusive classes", "a class for each position"})

    def positions(self, height: int, width: int) -> tuple[int, ...]:
        """Pixels."""
        return height, width

    # ------------------------------------------------------------------------------------------ labels

    def check_targets(self, label: str, targets: Tensor, classes: int) -> None:
        """(N, H, W) of classes and ignored pixels, not all of them ignored."""
        if targets.ndim != 3:
            raise SettingError(f"{label} masks are of shape {tuple(targets.shape)}; must be (N, H, W) class numbers")
        wrong = targets[(targets >= classes) & (targets != self.ignore_index)]
        if len(wrong):
            raise SettingError(
                f"{label} masks hold {int(wrong[0])}, and there are {classes} classes: 0 to {classes - 1}, or "
                f"{self.ignore_index} for pixels that don't count"
            )

    def as_shown(self, targets: Tensor, placement: Placement | None) -> Tensor:
        """int64, moved; what an image does not show doesn't count."""
        return (targets if placement is None else placement.masks(targets, self.ignore_index)).long()

    def valid(self, targets: Tensor) -> Tensor:
        """(N, H, W)."""
        return targets != self.ignore_index

    def check_told_apart(self, name: str, targets: Tensor, class_names: Sequence[str]) -> None:
        """At least two classes."""
        present = self.counts(targets, len(class_names)).nonzero().flatten().tolist()
        if len(present) < 2:
            found = f"of {class_names[present[0]]} alone" if present else f"of {self.ignore_index} alone"
            raise SettingError(
                f"data: the training masks of {name} are {found}: there is nothing to tell apart; check that their "
                "values are class numbers"
            )

    def counts(self, targets: Tensor, classes: int) -> Tensor:
        """Pixels of each class."""
        found = torch.zeros(256, dtype=torch.long)
        for mask in targets:  # one at a time: bincount wants 8 bytes a pixel
            found += mask.flatten().bincount(minlength=256)
        found[self.ignore_index] = 0
        return found[:classes]

    def strata(self, targets: Tensor) -> Tensor:
        """One group."""
        return torch.zeros(len(targets), dtype=torch.long)

    def balanced(self, targets: Tensor) -> Tensor:
        """There is no such thing."""
        raise SettingError(
            "data.sampling=balanced: shows every class equally often, and an image has pixels of several; use "
            "class_weights=balanced, by which each class's pixels count as much as those of any other"
        )

    def shown(self, targets: Tensor, classes: int, *, balanced: bool) -> Tensor:
        """Share of the pixels that count."""
        if balanced:
            self.balanced(targets)
        counts = self.counts(targets, classes)
        return counts / counts.sum().clamp_min(1)

    def as_probabilities(self, targets: Tensor, classes: int) -> Tensor:
        """Masks are not blended: `distill.data.augment.Augment.check_moves` refuses what would."""
        raise SettingError("data.augment: masks cannot be blended; leave mixup and cutmix out")

    def renumbered(self, targets: Tensor, numbers: Tensor, classes: int) -> Tensor:
        """Class `numbers[i]` in place of i."""
        table = torch.full((256,), self.ignore_index, dtype=torch.uint8)
        table[: len(numbers)] = numbers.to(torch.uint8)
        return table[targets.long()]

    def blank(self, count: int, classes: int) -> Tensor:
        """Masks of one pixel, the first class."""
        return torch.zeros(count, 1, 1, dtype=torch.uint8)

    def in_words(self, targets: Tensor, classes: int) -> str:
        """'with masks of 11 classes, 0.5% to 31% of the pixels each; 3.1% don't count'."""
        shares, ignored = (
            self.shown(targets, classes, balanced=False),
            float((targets == self.ignore_index).float().mean()),
        )
        left_out = f"; {ignored:.1%} of all don't count" if ignored else ""
        return f"with masks of {classes} classes, {shares.min():.2%} to {shares.max():.2%} of the pixels each{left_out}"

    # ------------------------------------------------------------------------------------------ learning

    def as_distributions(self, logits: Tensor) -> Tensor:
        """(N, C, H, W) to (N H W, C)."""
        return logits.movedim(1, -1).flatten(0, -2)

    def as_classes(self, targets: Tensor) -> Tensor:
        """(N H W,)."""
        return targets.flatten()

    def label_loss(self, smoothing: float = 0.0, weights: Tensor | None = None) -> nn.Module:
        """Cross-entropy, the mean over the pixels that count."""
        return LabelLoss(smoothing, weights, self.ignore_index)

    def class_weights(self, asked: ClassWeights, shown: Tensor) -> Tensor:
        """(C,), with a mean of 1 over the pixels."""
        return class_weights(asked, shown)

    def measure(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Share of the pixels named right; with a teacher agreement with it."""
        with torch.no_grad():
            chosen, counting = logits.argmax(1), self.valid(targets)
            values = {"accuracy": _share(chosen == targets, counting)}
            if answers is not None and comparable(logits, answers):
                values["agreement"] = _share(chosen == answers.likeliest(), counting)
        return values

    def measure_unseen(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Cross-entropy; with a teacher agreement and KL(teacher || student): means over the pixels of a batch."""
        values = self.measure(logits, answers, targets)
        del values["accuracy"]  # of the whole split, among `epoch_metrics`
        values["ce"] = self.label_loss()(logits, targets)
        if answers is not None and comparable(logits, answers):
            values["kl"] = kl_divergence(
                logits, answers.logits, labels=targets, ignore_index=self.ignore_index, reduction="positionmean"
            )
        return values

    def epoch_metrics(self) -> dict[str, torchmetrics.Metric]:
        """mIoU and pixel accuracy."""
        return {"miou": MeanIoU(self.ignore_index), "accuracy": PixelAccuracy(self.ignore_index)}

    # ------------------------------------------------------------------------------------------ evidence

    def evaluation(self, classes: int) -> Evaluation:
        """mIoU, pixel accuracy, calibration, agreement."""
        return SegmentationEvaluation(classes, self.ignore_index)

    def chance(self, targets: Tensor) -> float:
        """The mIoU of the most frequent class for every pixel."""
        counts = self.counts(targets, 256)
        return float(counts.max() / counts.sum().clamp_min(1) / (counts > 0).sum().clamp_min(1))

    def decisions(self, logits: Tensor, targets: Tensor) -> Decisions | None:
        """One a pixel that counts, of pixels evenly spread over a batch."""
        return decisions(logits, targets, self.valid(targets))

    def disagreement(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """Over the pixels, the mean product of both probabilities where the likeliest classes differ."""
        (sure, said), (teacher_sure, taught) = (x.softmax(1).max(1) for x in (logits, teacher))
        return torch.where(said != taught, sure * teacher_sure, 0.0).flatten(1).mean(1)

    def answer(self, logits: Tensor, target: Tensor, class_names: Sequence[str]) -> tuple[str, bool]:
        """The image's own mIoU."""
        found = mean_iou(confusion(logits.argmax(0)[None], target[None], len(logits), self.ignore_index))
        return f"mIoU {float(found):.0%}", bool(found == 1)

    def truth(self, target: Tensor, class_names: Sequence[str]) -> str:
        """How many classes there are."""
        present = self.counts(target[None].to(torch.uint8), len(class_names)).nonzero().flatten().tolist()
        names = ", ".join(str(class_names[i]) for i in present)
        return names if len(names) <= 22 else f"{len(present)} classes"

    def decided(self, logits: Tensor) -> Tensor:
        """(H, W) uint8, the likeliest classes."""
        return logits.argmax(0).to(torch.uint8)

    def drawn(self, image: Tensor, target: Tensor, class_names: Sequence[str]) -> Tensor:
        """The mask in colours; what doesn't count is white."""
        return painted(target, self.ignore_index)

    def outputs_fault(self, outputs: Outputs, images: int, classes: int) -> str | None:
        """Not a map for each image."""
        shape = tuple(outputs.logits.shape)
        if outputs.reading is not None or len(shape) != 4 or shape[0] != images:
            return (
                f"answers {images} images with logits of shape {shape}; must be (images, {classes}, height, width), a "
                "map for each class: choose a network for segmentation"
            )
        return None

    def outputs_doubt(self, role: str, logits: Tensor, *, trained: bool) -> str | None:
        """Probabilities."""
        return softmax_doubt(role, logits, trained=trained)

    # ------------------------------------------------------------------------------------------ tables

    def named_columns(self, class_names: Sequence[str]) -> list[str]:
        """Each class's share of the image."""
        return list(map(str, class_names))

    def named(self, logits: Tensor, class_names: Sequence[str]) -> list[list[str]]:
        """Of the likeliest classes."""
        shares = F.one_hot(logits.argmax(1).flatten(1), len(class_names)).double().mean(1)
        return [[f"{share:.6f}" for share in row] for row in shares.tolist()]

    def compared_columns(self, class_names: Sequence[str]) -> list[str]:
        """Each image's own scores."""
        return ["miou", "accuracy", "teacher_miou"]

    def compared(
        self, logits: Tensor, teacher: Tensor | None, targets: Tensor, class_names: Sequence[str]
    ) -> list[list[str]]:
        """To six digits."""
        own, other = (None if x is None else self._confusion(x, targets) for x in (logits, teacher))
        assert own is not None
        right = own.diagonal(dim1=1, dim2=2).sum(1) / own.sum((1, 2))
        taught = [""] * len(own) if other is None else [f"{score:.6f}" for score in mean_iou(other).tolist()]
        rows = zip(mean_iou(own).tolist(), right.tolist(), taught, strict=True)
        return [[f"{score:.6f}", f"{share:.6f}", text] for score, share, text in rows]

    def _confusion(self, logits: Tensor, targets: Tensor) -> Tensor:
        return confusion(logits.argmax(1), targets, logits.shape[1], self.ignore_index)


def _share(right: Tensor, counting: Tensor) -> Tensor:
    """Of the positions that count; 0 where there is none."""
    return (right & counting).sum() / counting.sum().clamp_min(1)
