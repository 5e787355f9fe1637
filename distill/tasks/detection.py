"""Object detection: boxes around the objects of an image, each of a class."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torchmetrics
from torch import Tensor, nn

from distill.boxes import NOTHING, Boxes, blank, f1, in_the_file, moved, named_boxes, pack
from distill.errors import SettingError
from distill.methods.labels import ClassWeights
from distill.methods.view import Trait
from distill.placement import Placement
from distill.tasks.base import Metric, Task
from distill.tasks.box_words import as_detections, counted, in_json, scaled
from distill.tasks.colours import with_boxes
from distill.tasks.evaluation import Evaluation
from distill.tasks.multilabel import MultiLabel
from distill.types import Outputs


class Detection(Task):
    """Boxes.

    Labels are packed boxes, (N, M, 7) float32; see `distill.boxes`. A network answers with (N, D, 6): left, top, right
    and bottom in pixels of the images, score and label, -1 where there is no detection; how its raw outputs become
    these and a loss it says itself. Its logits are (N, C, A), a binary distribution for each class at each of the
    detector's A positions, or (N, C + 1, A), a softmax with the background first.
    """

    name = "detection"
    metric = Metric("map", higher_is_better=True, words="mAP")
    score_names = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "ece", "agreement", "kl")
    columns: ClassVar[Mapping[str, str]] = {
        "AP50": "map_50",
        "small": "map_small",
        "medium": "map_medium",
        "large": "map_large",
    }
    dtype = torch.float32
    moves = True
    script = """\
    print(file, "logits of", logits.shape)  # raw ones: which boxes they come to, non-maximum suppression would say
"""

    def __init__(self, num_classes: int) -> None:
        if importlib.util.find_spec("pycocotools") is None:
            raise SettingError('data: boxes are scored by the package pycocotools: pip install -e ".[detection]"')
        self.num_classes = num_classes

    @property
    def traits(self) -> frozenset[Trait]:
        """Boxes."""
        return frozenset({"boxes"})

    def settings(self) -> dict[str, Any]:
        """The number of classes."""
        return {"num_classes": self.num_classes}

    def positions(self, height: int, width: int) -> None:
        """Each detector has its own."""

    # ------------------------------------------------------------------------------------------ labels

    def check_targets(self, label: str, targets: Tensor, classes: int) -> None:
        """Packed boxes with an area, of classes from 0."""
        if targets.ndim != 3 or targets.shape[2] != 7:
            raise SettingError(f"{label} labels are of shape {tuple(targets.shape)}; must be packed boxes (N, M, 7)")
        boxes = Boxes.of(targets)
        there = boxes.labels != NOTHING
        if there.any() and not (int(boxes.labels[there].min()) >= 0 and int(boxes.labels.max()) < classes):
            raise SettingError(f"{label} labels run to {int(boxes.labels.max())}; must be from 0 to {classes - 1}")
        flat = (boxes.corners[..., 2:] <= boxes.corners[..., :2]).any(-1) & there
        if flat.any():
            image = int(flat.any(1).nonzero()[0])
            raise SettingError(f"{label} image {image} has a box without area: {boxes.corners[image][flat[image]][0]}")

    def check_told_apart(self, name: str, targets: Tensor, class_names: Sequence[str]) -> None:
        """At least one box."""
        if not Boxes.of(targets).there.any():
            raise SettingError(f"data: {name} has training images without a single box: there is nothing to find")

    def counts(self, targets: Tensor, classes: int) -> Tensor:
        """Images that have each class."""
        return _presence(targets, classes).sum(0)

    def strata(self, targets: Tensor) -> Tensor:
        """By the rarest of an image's classes; those without boxes are a group of their own."""
        return MultiLabel().strata(_presence(targets, self.num_classes))

    def balanced(self, targets: Tensor) -> Tensor:
        """There is no such thing."""
        raise SettingError(
            "data.sampling=balanced: shows every class equally often, and an image has boxes of several; use "
            "data.sampling=shuffled"
        )

    def shown(self, targets: Tensor, classes: int, *, balanced: bool) -> Tensor:
        """The share of the images that have each class."""
        if balanced:
            self.balanced(targets)
        return _presence(targets, classes).float().mean(0)

    def as_shown(self, targets: Tensor, placement: Placement | None) -> Tensor:
        """Boxes where augmentation has put them, cut off with the image; gone where less than a quarter is left."""
        return targets if placement is None else moved(targets, placement)

    def as_probabilities(self, targets: Tensor, classes: int) -> Tensor:
        """Boxes cannot be blended."""
        raise SettingError("data.augment: mixup and cutmix blend labels, and boxes cannot be blended; set both to 0")

    def renumbered(self, targets: Tensor, numbers: Tensor, classes: int) -> Tensor:
        """Boxes under the other numbers."""
        other, labels = targets.clone(), targets[..., 4].long()
        other[..., 4] = torch.where(labels >= 0, numbers.to(labels.device)[labels.clamp(min=0)], labels).to(other.dtype)
        return other

    def blank(self, count: int, classes: int) -> Tensor:
        """No boxes."""
        return blank(torch.ones(count))

    def blank_of(self, scales: Tensor, classes: int) -> Tensor:
        """No boxes, and the scale."""
        return blank(scales)

    def in_words(self, targets: Tensor, classes: int) -> str:
        """'with 2,143 boxes of 10 classes, 2.1 on each, 12 images without'."""
        there = Boxes.of(targets).there.sum(1)
        without = int((there == 0).sum())
        more = f", {without:,} images without" if without else ""
        return f"with {int(there.sum()):,} boxes of {classes} classes, {float(there.float().mean()):.1f} on each{more}"

    # ------------------------------------------------------------------------------------------ learning

    def as_distributions(self, logits: Tensor) -> Tensor:
        """(N, 2, C * A), false at a logit of 0 and true, of sigmoid heads; those of a softmax as they are."""
        if logits.shape[1] == 0:
            raise ValueError(
                "a two-stage detector says nothing of classes at fixed positions, which this method imitates; use one "
                "of features, such as method=fgd or method=pkd, or single-stage detectors"
            )
        if logits.shape[1] == self.num_classes + 1:
            return logits
        flat = logits.flatten(1)
        return torch.stack([torch.zeros_like(flat), flat], 1)

    def as_classes(self, targets: Tensor) -> Tensor:
        """Packed boxes, as they are: detectors give them to their positions, each in a way of its own."""
        return targets

    def label_loss(self, smoothing: float = 0.0, weights: Tensor | None = None) -> nn.Module:
        """Each detector has its own."""
        if smoothing:
            raise SettingError(f"label_smoothing={smoothing}: detectors have losses of their own; set it to 0")
        return _DetectorsOwn()

    def class_weights(self, asked: ClassWeights, shown: Tensor) -> Tensor:
        """There are none."""
        raise ValueError(f"class_weights={asked}: detectors have losses of their own; set it to null")

    def measure(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Nothing: boxes are told by suppressing others, which takes longer than a step."""
        return {}

    def measure_unseen(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Nothing but mAP, of the whole split."""
        return {}

    def epoch_metrics(self) -> dict[str, torchmetrics.Metric]:
        """mAP."""
        from distill.tasks.coco import BoxAveragePrecision

        return {"map": BoxAveragePrecision()}

    # ------------------------------------------------------------------------------------------ evidence

    def evaluation(self, classes: int) -> Evaluation:
        """COCO's scores, calibration of the detections, agreement."""
        from distill.tasks.box_evaluation import BoxEvaluation

        return BoxEvaluation(classes)

    def chance(self, targets: Tensor) -> float:
        """Nothing: random boxes are nowhere."""
        return 0.0

    def disagreement(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """One less the F1 of the boxes that are named by one, taken for the other's."""
        pairs = zip(named_boxes(logits), named_boxes(teacher), strict=True)
        return torch.tensor([1 - f1(ours, theirs) for ours, theirs in pairs])

    def answer(self, logits: Tensor, target: Tensor, class_names: Sequence[str]) -> tuple[str, bool]:
        """What is named and how often; right if each box is found and no other."""
        (said,), truth = named_boxes(logits[None]), as_detections(target)
        return counted(said[:, 5], class_names), f1(said, truth) == 1

    def truth(self, target: Tensor, class_names: Sequence[str]) -> str:
        """What there is and how often."""
        return counted(as_detections(target)[:, 5], class_names)

    def decided(self, logits: Tensor) -> Tensor:
        """Packed boxes (m, 7) of what is named."""
        (said,) = named_boxes(logits[None])
        return pack([[(*box, label) for *box, _, label in said.tolist()]])[0]

    def drawn(self, image: Tensor, target: Tensor, class_names: Sequence[str]) -> Tensor:
        """The image with its boxes, each in the colour and with the name of its class."""
        rows = target[Boxes.of(target[None]).there[0]]
        return with_boxes(image, rows[:, :4], rows[:, 4].long(), class_names)

    def outputs_fault(self, outputs: Outputs, images: int, classes: int) -> str | None:
        """Not a detector."""
        if outputs.reading is not None:
            return None
        return (
            "gives logits and no boxes, and the data has boxes: choose a detector, such as =gfl or "
            "=torchvision_detection (model@teacher, model@student)"
        )

    def outputs_doubt(self, role: str, logits: Tensor, *, trained: bool) -> str | None:
        """Not known."""
        return None

    # ------------------------------------------------------------------------------------------ tables

    def in_the_file(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Detections in pixels of the images' files."""
        return in_the_file(logits, targets)

    def named_columns(self, class_names: Sequence[str]) -> list[str]:
        """What is named and how often, and all detections in JSON."""
        return ["objects", "boxes"]

    def named(self, logits: Tensor, class_names: Sequence[str]) -> list[list[str]]:
        """Boxes as left, top, right and bottom in pixels, the surest first."""
        objects = [counted(rows[:, 5], class_names) for rows in named_boxes(logits)]
        return [[text, in_json(rows, class_names)] for text, rows in zip(objects, logits, strict=True)]

    def compared_columns(self, class_names: Sequence[str]) -> list[str]:
        """What there is and what is named, and how often; the boxes of both in JSON."""
        return ["target", "predicted", "teacher", "true_boxes", "boxes"]

    def compared(
        self, logits: Tensor, teacher: Tensor | None, targets: Tensor, class_names: Sequence[str]
    ) -> list[list[str]]:
        """In pixels of the images' files."""
        truth = [as_detections(target) for target in targets]
        said = self.named(in_the_file(logits, targets), class_names)
        taught = [""] * len(truth) if teacher is None else [row[0] for row in self.named(teacher, class_names)]
        scale = Boxes.of(targets).scale
        return [
            [counted(true[:, 5], class_names), objects, other, in_json(scaled(true, factor), class_names), boxes]
            for true, (objects, boxes), other, factor in zip(truth, said, taught, scale, strict=True)
        ]


class _DetectorsOwn(nn.Module):
    """Stands where a labels' loss does, for networks that bring theirs."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Nobody asks for it."""
        raise SettingError("the student is no detector: boxes are learned by a detector's own loss")


def _presence(targets: Tensor, classes: int) -> Tensor:
    """(N, C) int64: whether an image has a box of a class."""
    boxes = Boxes.of(targets)
    found = torch.zeros(len(targets), classes + 1, dtype=torch.long, device=targets.device)
    found.scatter_(1, boxes.labels.where(boxes.there, classes).clamp(max=classes), 1)
    return found[:, :classes]
