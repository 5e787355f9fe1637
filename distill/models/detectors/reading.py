"""How the raw outputs of a detector become its loss and its boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from distill.boxes import Boxes, pack_detections

Raw = Mapping[str, Any]
"""What a detector's forward pass gives: 'logits' (N, C, A), or (N, C + 1, A) of a softmax with the background first;
'boxes' as it encodes them, (N, 4, A) or (N, 4, bins, A); and 'levels', its pyramid of maps (N, D, H, W)."""
Target = dict[str, Tensor]
"""Of one image: 'boxes' (m, 4) in pixels of the detector's input, 'labels' (m,) from 0."""


class Detector(Protocol):
    """What a detector can do beside its forward pass, which gives `Raw`.

    num_classes: how many it tells apart, the background left out.
    detections: at most so many in an image.
    """

    num_classes: int
    detections: int

    def losses(self, raw: Raw, targets: Sequence[Target], size: tuple[int, int]) -> Mapping[str, Tensor]:
        """The parts of its loss, whose sum it learns by; size: height and width of its input."""
        ...

    def detect(self, raw: Raw, size: tuple[int, int]) -> list[dict[str, Tensor]]:
        """For each image 'boxes' (d, 4) in pixels of its input, 'scores' and 'labels' (d,), the surest first."""
        ...


@dataclass(frozen=True, slots=True)
class DetectorReading:
    """The raw outputs of a detector for one batch; a `distill.types.Reading`.

    size: height and width of what the detector was shown.
    images: of the images that batches hold, in whose pixels boxes are given.
    """

    detector: Detector
    raw: Raw
    size: tuple[int, int]
    images: tuple[int, int]

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return self.detector.num_classes

    def label_loss(self, targets: Tensor) -> Tensor:
        """The sum of the detector's losses, for packed boxes (N, M, 7); see `distill.boxes`."""
        boxes, factors = Boxes.of(targets), self._factors(targets)
        there = boxes.there
        found = [
            {"boxes": corners[rows] * factors, "labels": labels[rows]}
            for corners, labels, rows in zip(boxes.corners, boxes.labels, there, strict=True)
        ]
        return torch.stack([*self.detector.losses(self.raw, found, self.size).values()]).sum()

    def answers(self) -> Tensor:
        """(N, D, 6): left, top, right, bottom in pixels of the images, score and label; -1 for no detection."""
        found = pack_detections(self.detector.detect(self.raw, self.size), self.detector.detections)
        return torch.cat([found[..., :4] / self._factors(found), found[..., 4:]], -1)

    def _factors(self, like: Tensor) -> Tensor:
        """(4,) pixels of the detector's input for one of the images', for left, top, right and bottom."""
        down, across = (new / old for new, old in zip(self.size, self.images, strict=True))
        return like.new_tensor([across, down, across, down])
