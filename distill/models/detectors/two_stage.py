"""torchvision's two-stage detectors: their pyramid first, proposals, losses and boxes after."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from distill.losses.logits import precise
from distill.models.detectors.reading import DetectorReading, Raw, Target
from distill.models.detectors.single_stage import image_list, pyramid


class TwoStage(nn.Module):
    """A Faster R-CNN of torchvision's, or another with the same parts, as a network whose raw outputs are its pyramid.

    It says nothing of classes at fixed positions, so that its logits are (N, 0): methods of features alone suit it.

    Args:
        model: has `backbone`, `rpn` and `roi_heads`.
        num_classes: without the background.

    Attributes:
        levels: one for each map of the pyramid, `levels.0` the finest: for taps.
    """

    def __init__(self, model: Any, num_classes: int) -> None:
        super().__init__()
        self.model: Any = model
        self.num_classes = num_classes
        self.detections = int(model.roi_heads.detections_per_img)
        self.levels = nn.ModuleList(nn.Identity() for _ in model.rpn.anchor_generator.num_anchors_per_location())

    def forward(self, images: Tensor) -> dict[str, Any]:
        """(N, C, H, W) normalised images to `Raw` without 'boxes', with the names of the levels."""
        features = self.model.backbone(images)
        names = ["0"] if isinstance(features, Tensor) else list(features)  # by which the second stage chooses
        return {"logits": images.new_empty(len(images), 0), "levels": pyramid(features, self.levels), "names": names}

    def read(self, raw: Raw, size: tuple[int, int], images: tuple[int, int]) -> DetectorReading:
        """The raw outputs of a batch as boxes, and as a loss."""
        return DetectorReading(self, raw, size, images)

    def losses(self, raw: Raw, targets: Sequence[Target], size: tuple[int, int]) -> Mapping[str, Tensor]:
        """Of both stages, as the detector's own training has them."""
        shifted = [{**target, "labels": target["labels"] + 1} for target in targets]  # class 0 is the background
        features, images = self._features(raw), image_list(raw, size)
        proposals, first = self.model.rpn(images, features, shifted)
        _, second = self.model.roi_heads(features, proposals, images.image_sizes, shifted)
        return {**first, **second}

    def detect(self, raw: Raw, size: tuple[int, int]) -> list[dict[str, Tensor]]:
        """As the detector's own evaluation has them."""
        features, images = self._features(raw), image_list(raw, size)
        proposals, _ = self.model.rpn(images, features)
        found, _ = self.model.roi_heads(features, proposals, images.image_sizes)
        return [{**image, "labels": image["labels"] - 1} for image in found]

    def _features(self, raw: Raw) -> "OrderedDict[str, Tensor]":
        return OrderedDict(zip(raw["names"], map(precise, raw["levels"]), strict=True))
