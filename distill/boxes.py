"""Boxes of objects as one tensor of fixed shape, which splits, batches and processes carry like any other labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from distill.placement import Placement

COLUMNS = 7  # left, top, right, bottom, label, crowd, scale
NOTHING = -1  # label of a row without a box
NAMED = 0.5  # score from which on a detection is said to be there
LEAST_VISIBLE = 0.25  # share of a box's area that augmentation has to leave, or the box is gone
OVERLAP = 0.5  # of two boxes that are said to be the same


@dataclass(frozen=True, slots=True)
class Boxes:
    """The objects of N images, at most M each; packed as (N, M, 7) float32.

    corners: left, top, right and bottom in pixels of the image as it is shown; edges, so that a box as large as an
        image of W x H is (0, 0, W, H).
    labels: their classes; -1 where there is no box.
    crowd: whether a box holds many objects that nobody told apart: not learned from, and not scored.
    scale: pixels of the image's file for a pixel as it is shown.
    """

    corners: Float[Tensor, "n m 4"]
    labels: Int[Tensor, "n m"]
    crowd: Bool[Tensor, "n m"]
    scale: Float[Tensor, "n"]

    @classmethod
    def of(cls, packed: Float[Tensor, "n m 7"]) -> "Boxes":
        """From what `packed` gives."""
        return cls(packed[..., :4], packed[..., 4].long(), packed[..., 5] > 0, packed[:, 0, 6])

    @property
    def packed(self) -> Float[Tensor, "n m 7"]:
        """As one tensor."""
        scale = self.scale[:, None].expand(self.labels.shape)
        rest = torch.stack([self.labels.float(), self.crowd.float(), scale.float()], -1)
        return torch.cat([self.corners.float(), rest], -1)

    @property
    def there(self) -> Bool[Tensor, "n m"]:
        """Whether a row is a box to learn from."""
        return (self.labels >= 0) & ~self.crowd


def pack(images: Sequence[Sequence[Sequence[float]]], scales: Sequence[float] | None = None) -> Float[Tensor, "n m 7"]:
    """Packed boxes of images: for each image a list of (left, top, right, bottom, label) or (..., label, crowd).

    scales: of each image; None: 1.
    """
    most = max([1, *map(len, images)])
    rows: list[list[list[float]]] = []
    for objects, scale in zip(images, scales or [1.0] * len(images), strict=True):
        found = [[*map(float, box[:5]), float(box[5]) if len(box) > 5 else 0.0, scale] for box in objects]
        rows.append(found + [_nothing(scale)] * (most - len(found)))
    return torch.tensor(rows, dtype=torch.float32).reshape(len(images), most, COLUMNS)


def _nothing(scale: float) -> list[float]:
    return [0.0, 0.0, 0.0, 0.0, NOTHING, 0.0, scale]


def blank(scales: Float[Tensor, "n"]) -> Float[Tensor, "n 1 7"]:
    """Packed boxes of images without any."""
    packed = torch.zeros(len(scales), 1, COLUMNS)
    packed[..., 4], packed[..., 6] = NOTHING, scales[:, None]
    return packed


def moved(targets: Tensor, placement: Placement) -> Tensor:
    """Packed boxes where augmentation has put them, cut off with the image; gone where less than a quarter is left."""
    boxes = Boxes.of(targets)
    matrix, visible = (part.to(targets.device).to(targets.dtype) for part in (placement.matrix, placement.visible))
    edges = boxes.corners.unflatten(-1, (2, 2)).transpose(-1, -2) - 0.5  # (N, M, 2, 2): by direction, low and high
    low, high = visible[:, None, :, :1], visible[:, None, :, 1:]
    left = edges.maximum(low).minimum(high)
    factor = torch.stack([matrix[:, 0, 0], matrix[:, 1, 1]], 1)[:, None, :, None]
    shifted = ((left - matrix[:, None, :, 2:]) / factor).sort(-1).values + 0.5
    size = shifted.new_tensor([placement.width, placement.height])[:, None]
    shifted = shifted.clamp(min=0).minimum(size)
    before, after = ((part[..., 1] - part[..., 0]).prod(-1) for part in (edges / factor.abs(), shifted))
    kept = (after > LEAST_VISIBLE * before) & (boxes.labels >= 0)
    corners = shifted.transpose(-1, -2).flatten(-2) * kept[..., None]
    return Boxes(corners, boxes.labels.where(kept, NOTHING), boxes.crowd & kept, boxes.scale).packed


def pack_detections(found: Sequence[dict[str, Any]], most: int) -> Float[Tensor, "n d 6"]:
    """Detections of N images, as torchvision's detectors give them, as left, top, right, bottom, score and label.

    found: for each image 'boxes' (d, 4), 'scores' (d,) and 'labels' (d,), the surest first.
    most: D; rows without a detection have label -1 and score 0.
    """
    rows = []
    for image in found:
        there = [image["boxes"], image["scores"][:, None], image["labels"][:, None]]
        detections = torch.cat([part[:most].float() for part in there], 1)
        gap = detections.new_tensor([0, 0, 0, 0, 0, NOTHING]).expand(most - len(detections), -1)
        rows.append(torch.cat([detections, gap]))
    return torch.stack(rows)


def in_the_file(detections: Tensor, targets: Tensor) -> Tensor:
    """(n, D, 6) detections in pixels of the images' files, of packed boxes which know their size."""
    scale = Boxes.of(targets).scale[:, None, None]
    return torch.cat([detections[..., :4] * scale, detections[..., 4:]], -1)


def named_boxes(detections: Tensor) -> list[Tensor]:
    """For each image those of (n, D, 6) detections that are sure enough to be named, (m, 6)."""
    return [rows[(rows[:, 5] >= 0) & (rows[:, 4] >= NAMED)] for rows in detections]


def count_pairs(ours: Tensor, theirs: Tensor) -> int:
    """How many of (m, 6) boxes, the surest first, find one of (k, 6) others of their own: of the same class, and
    overlapping by half."""
    from torchvision.ops import box_iou  # which takes a second to import, and commands should start without

    overlaps = box_iou(ours[:, :4], theirs[:, :4]) * (ours[:, None, 5] == theirs[None, :, 5])
    pairs = 0
    for row in overlaps:
        if len(row) and row.max() >= OVERLAP:
            overlaps[:, row.argmax()] = 0
            pairs += 1
    return pairs


def f1(ours: Tensor, theirs: Tensor) -> float:
    """Of (m, 6) boxes taken for (k, 6) others; 1 where there are none of either."""
    either = len(ours) + len(theirs)
    return 2 * count_pairs(ours, theirs) / either if either else 1.0
