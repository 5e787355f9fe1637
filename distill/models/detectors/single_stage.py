"""torchvision's single-stage detectors: raw outputs first, losses and boxes after."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from distill.losses.logits import precise
from distill.models.detectors.reading import DetectorReading, Raw, Target

OUTPUTS = {"cls_logits": "logits", "bbox_regression": "boxes", "bbox_ctrness": "centerness"}
"""What torchvision's heads give, (N, A, K), and what it is called here, where it is (N, K, A)."""


class SingleStage(nn.Module):
    """A RetinaNet, FCOS or SSD of torchvision's, or another with the same parts, as a network with raw outputs.

    The detector's own resizing and normalisation are left out: `distill.models.network.Preprocess` does both.

    Args:
        model: has `backbone`, `head`, `anchor_generator`, `compute_loss` and `postprocess_detections`.
        num_classes: without a background.

    Attributes:
        levels: one for each map of the pyramid, `levels.0` the finest: for taps.
        logits, boxes: what the head says of the classes and the boxes: for taps.
    """

    def __init__(self, model: Any, num_classes: int) -> None:
        super().__init__()
        self.model: Any = model
        self.num_classes = num_classes
        self.detections = int(model.detections_per_img)
        self.levels = nn.ModuleList(nn.Identity() for _ in model.anchor_generator.num_anchors_per_location())
        self.logits, self.boxes = nn.Identity(), nn.Identity()

    def forward(self, images: Tensor) -> dict[str, Any]:
        """(N, C, H, W) normalised images to `Raw`, with 'centerness' (N, 1, A) where the head has it."""
        levels = pyramid(self.model.backbone(images), self.levels)
        head = self.model.head(levels)
        raw = {OUTPUTS[name]: value.mT for name, value in head.items()}
        return {**raw, "logits": self.logits(raw["logits"]), "boxes": self.boxes(raw["boxes"]), "levels": levels}

    def read(self, raw: Raw, size: tuple[int, int], images: tuple[int, int]) -> DetectorReading:
        """The raw outputs of a batch as boxes, and as a loss."""
        return DetectorReading(self, raw, size, images)

    def losses(self, raw: Raw, targets: Sequence[Target], size: tuple[int, int]) -> Mapping[str, Tensor]:
        """As the detector's own training has them, in float32."""
        with torch.autocast(raw["logits"].device.type, enabled=False):
            head, anchors = self._head(raw), self._anchors(raw, size)
            if isinstance(self.model, SSD):  # whose background is class 0
                shifted = [{**target, "labels": target["labels"] + 1} for target in targets]
                matched = [self._matched(t["boxes"], a) for t, a in zip(targets, anchors, strict=True)]
                return self.model.compute_loss(shifted, head, anchors, matched)  # type: ignore[no-any-return]
            counts = [self._positions(raw)] if isinstance(self.model, FCOS) else []
            return self.model.compute_loss(list(targets), head, anchors, *counts)  # type: ignore[no-any-return]

    def detect(self, raw: Raw, size: tuple[int, int]) -> list[dict[str, Tensor]]:
        """As the detector's own evaluation has them."""
        head, anchors = self._head(raw), self._anchors(raw, size)
        sizes = [size] * len(raw["logits"])
        if isinstance(self.model, SSD):
            found = self.model.postprocess_detections(head, anchors, sizes)
            return [{**image, "labels": image["labels"] - 1} for image in found]
        counts = self._positions(raw)
        split = {name: list(value.split(counts, dim=1)) for name, value in head.items()}
        by_level = [list(one.split(counts)) for one in anchors]
        return self.model.postprocess_detections(split, by_level, sizes)  # type: ignore[no-any-return]

    def _head(self, raw: Raw) -> dict[str, Tensor]:
        return {name: precise(raw[ours]).mT for name, ours in OUTPUTS.items() if ours in raw}

    def _anchors(self, raw: Raw, size: tuple[int, int]) -> list[Tensor]:
        """(A, 4) of each image."""
        return anchors_of(self.model.anchor_generator, raw, size)

    def _positions(self, raw: Raw) -> list[int]:
        """Anchors of each level."""
        positions = [level.shape[2] * level.shape[3] for level in raw["levels"]]
        each = raw["logits"].shape[2] // sum(positions)
        return [count * each for count in positions]

    def _matched(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """(A,) the box of each anchor, -1 for none."""
        if not len(boxes):
            return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
        matched: Tensor = self.model.proposal_matcher(box_iou(boxes, anchors))
        return matched


def pyramid(features: Any, taps: nn.ModuleList) -> list[Tensor]:
    """A backbone's maps, the finest first, each through its tap."""
    found = [features] if isinstance(features, Tensor) else list(features.values())
    return [tap(level) for tap, level in zip(taps, found, strict=True)]


def image_list(raw: Raw, size: tuple[int, int]) -> ImageList:
    """What torchvision's parts ask of images: how many there are and how large."""
    level = raw["levels"][0]
    return ImageList(level.new_empty(len(level), 1, 1, 1).expand(-1, 1, *size), [size] * len(level))


def anchors_of(generator: nn.Module, raw: Raw, size: tuple[int, int]) -> list[Tensor]:
    """(A, 4) anchors of each image, in float32."""
    found: list[Tensor] = generator(image_list(raw, size), [precise(level) for level in raw["levels"]])
    return found
