"""A small single-stage detector without anchors, whose boxes are distributions (generalized focal loss, 2006.04388).

At each position of two maps, at strides 8 and 16, it says how well a box of each class would fit, and how far the four
edges of that box are: a distribution over so many bins, one stride apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image, generalized_box_iou_loss

from distill.losses.logits import precise
from distill.models.detectors.reading import DetectorReading, Raw, Target
from distill.models.staged import check_positive, initialise

STRIDES = (8, 16)
RADIUS = 1.5  # strides around the middle of a box in which positions learn it
LARGEST = 4.0  # strides from a position to an edge that the finer level learns
PRIOR = -4.6  # bias of the classes: a hundredth, so that training starts without a flood of false positives
BETA = 2.0  # exponent of the quality focal loss
CANDIDATES, LEAST_SCORE, OVERLAP = 200, 0.02, 0.6  # of non-maximum suppression


class GFL(nn.Module):
    """The detector.

    Args:
        num_classes: of objects.
        in_channels: of images.
        width: channels of the first layers; the pyramid has four times as many.
        bins: of the distance to an edge, 0 to bins - 1 strides.

    Attributes:
        levels: one for each map of the pyramid, `levels.0` the finer: for taps.
        logits, boxes: (N, C, A) and (N, 4, bins, A), what it says of classes and edges: for taps.
    """

    detections = 100

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 16, bins: int = 8) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, width=width, bins=bins - 1)
        self.num_classes, self.bins = num_classes, bins
        wide = 4 * width
        self.stem = _conv(in_channels, width, stride=2)
        self.layer1 = nn.Sequential(_conv(width, 2 * width, stride=2), _conv(2 * width, 2 * width))
        self.layer2 = nn.Sequential(_conv(2 * width, wide, stride=2), _conv(wide, wide))
        self.layer3 = nn.Sequential(_conv(wide, wide, stride=2), _conv(wide, wide))
        self.laterals = nn.ModuleList(nn.Conv2d(wide, wide, 1) for _ in STRIDES)
        self.levels = nn.ModuleList(nn.Identity() for _ in STRIDES)
        self.classifier = nn.Sequential(_conv(wide, wide), nn.Conv2d(wide, num_classes, 3, padding=1))
        self.regressor = nn.Sequential(_conv(wide, wide), nn.Conv2d(wide, 4 * bins, 3, padding=1))
        self.logits, self.boxes = nn.Identity(), nn.Identity()
        initialise(self)
        nn.init.normal_(self.classifier[-1].weight, std=0.01)  # type: ignore[arg-type]
        nn.init.constant_(self.classifier[-1].bias, PRIOR)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> dict[str, Any]:
        """(N, C, H, W) normalised images to `Raw`: 'logits' (N, C, A) and 'boxes' (N, 4, bins, A)."""
        fine = self.layer2(self.layer1(self.stem(images)))
        coarse = self.laterals[1](self.layer3(fine))
        fine = self.laterals[0](fine) + F.interpolate(coarse, fine.shape[-2:])
        levels = [tap(level) for tap, level in zip(self.levels, (fine, coarse), strict=True)]
        logits = torch.cat([self.classifier(level).flatten(2) for level in levels], 2)
        boxes = torch.cat([self.regressor(level).flatten(2) for level in levels], 2)
        boxes = boxes.unflatten(1, (4, self.bins))
        return {"logits": self.logits(logits), "boxes": self.boxes(boxes), "levels": levels}

    def read(self, raw: Raw, size: tuple[int, int], images: tuple[int, int]) -> DetectorReading:
        """The raw outputs of a batch as boxes, and as a loss."""
        return DetectorReading(self, raw, size, images)

    def losses(self, raw: Raw, targets: Sequence[Target], size: tuple[int, int]) -> Mapping[str, Tensor]:
        """Quality focal loss of the classes, distribution focal loss and GIoU of the boxes.

        As in the paper boxes count by how sure the detector is of them, and all is divided by the sum of that.
        """
        logits, bins, places = precise(raw["logits"]), precise(raw["boxes"]), _Places.of(raw["levels"])
        assigned, labels, corners = _assigned(places, targets)
        sample, place = assigned.nonzero(as_tuple=True)
        edges = bins[sample, :, :, place]  # (positives, 4, bins)
        truth = corners[sample, place]
        found = places.boxes(_distances(edges), place)
        overlaps = torch.diagonal(box_iou(found.detach(), truth)) if len(sample) else found.new_zeros(0)
        quality = torch.zeros_like(logits)
        quality[sample, labels[sample, place], place] = overlaps
        weights = logits.detach().sigmoid().amax(1)[sample, place]
        total = weights.sum().clamp_min(1.0)
        focal = (quality - logits.sigmoid()).abs().pow(BETA) * F.binary_cross_entropy_with_logits(
            logits, quality, reduction="none"
        )
        distances = places.distances(truth, place).clamp(0, self.bins - 1.01)
        return {
            "classes": focal.sum() / max(1, len(sample)),
            "giou": 2.0 * (weights * generalized_box_iou_loss(found, truth)).sum() / total,
            "edges": 0.25 * (weights[:, None] * _distribution_focal_loss(edges, distances)).sum() / total,
        }

    def detect(self, raw: Raw, size: tuple[int, int]) -> list[dict[str, Tensor]]:
        """The surest boxes of each class that don't overlap a surer one of it."""
        places = _Places.of(raw["levels"])
        scores, distances = precise(raw["logits"]).sigmoid(), _distances(precise(raw["boxes"]).permute(0, 3, 1, 2))
        return [self._kept(*one, places, size) for one in zip(scores, distances, strict=True)]

    def _kept(self, scores: Tensor, distances: Tensor, places: "_Places", size: tuple[int, int]) -> dict[str, Tensor]:
        """Of one image: (C, A) scores, (A, 4) distances in strides."""
        surest, which = scores.flatten().topk(min(CANDIDATES, scores.numel()))
        which, surest = which[surest > LEAST_SCORE], surest[surest > LEAST_SCORE]
        label, place = which // scores.shape[1], which % scores.shape[1]
        boxes = clip_boxes_to_image(places.boxes(distances[place], place), size)
        kept = batched_nms(boxes, surest, label, OVERLAP)[: self.detections]
        return {"boxes": boxes[kept], "scores": surest[kept], "labels": label[kept]}


@dataclass(frozen=True, slots=True)
class _Places:
    """The A positions of a pyramid.

    centres: (A, 2) x and y in pixels. strides: (A,) pixels. coarse: (A,) bool, of the coarser level.
    """

    centres: Float[Tensor, "a 2"]
    strides: Float[Tensor, "a"]
    coarse: Tensor

    @classmethod
    def of(cls, levels: Sequence[Tensor]) -> "_Places":
        """Of maps at `STRIDES`."""
        centres, strides = [], []
        for level, stride in zip(levels, STRIDES, strict=True):
            rows, columns = ((torch.arange(n, device=level.device) + 0.5) * stride for n in level.shape[-2:])
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            centres.append(torch.stack([x.flatten(), y.flatten()], 1))
            strides.append(torch.full_like(x.flatten(), stride))
        every = torch.cat(strides)
        return cls(torch.cat(centres), every, every > STRIDES[0])

    def distances(self, boxes: Float[Tensor, "... 4"], place: Tensor) -> Float[Tensor, "... 4"]:
        """In strides from positions to the left, top, right and bottom edges of boxes; negative outside."""
        centre = self.centres[place]
        pixels = torch.cat([centre - boxes[..., :2], boxes[..., 2:] - centre], -1)
        return pixels / self.strides[place][..., None]

    def boxes(self, distances: Float[Tensor, "p 4"], place: Tensor) -> Float[Tensor, "p 4"]:
        """Left, top, right and bottom in pixels."""
        pixels, centre = distances * self.strides[place][:, None], self.centres[place]
        return torch.cat([centre - pixels[:, :2], centre + pixels[:, 2:]], 1)


def _assigned(places: _Places, targets: Sequence[Target]) -> tuple[Tensor, Tensor, Tensor]:
    """Which positions learn a box, (N, A) bool, and its label (N, A) and corners (N, A, 4): the smallest box that a
    position lies well inside, of the size that the position's level is for."""
    boxes = pad_sequence([target["boxes"] for target in targets], batch_first=True)  # (N, M, 4), of no area where none
    labels = pad_sequence([target["labels"] for target in targets], batch_first=True)
    count, most = boxes.shape[:2]
    if most == 0:
        nobody = torch.zeros(count, len(places.strides), dtype=torch.long, device=boxes.device)
        return nobody > 0, nobody, boxes.new_zeros(*nobody.shape, 4)
    every = torch.arange(len(places.strides), device=boxes.device)[:, None]
    distances = places.distances(boxes[:, None], every)  # (N, A, M, 4)
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    off = ((places.centres[:, None] - middle[:, None]).abs() / places.strides[:, None, None]).amax(-1)
    larger = distances.amax(-1) * (places.strides[:, None] / STRIDES[0]) > LARGEST
    fits = (distances.amin(-1) > 0) & (off < RADIUS) & (larger == places.coarse[:, None])
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)[:, None].expand(fits.shape)
    best = area.masked_fill(~fits, float("inf")).min(-1)
    own = best.indices
    corners = boxes.gather(1, own[..., None].expand(-1, -1, 4))
    return best.values.isfinite(), labels.gather(1, own), corners


def _distances(bins: Float[Tensor, "... bins"]) -> Float[Tensor, "..."]:
    """The mean of each distribution, in strides."""
    shares = bins.softmax(-1)
    return shares @ torch.arange(shares.shape[-1], dtype=shares.dtype, device=shares.device)


def _distribution_focal_loss(bins: Float[Tensor, "p 4 bins"], distances: Float[Tensor, "p 4"]) -> Float[Tensor, "p 4"]:
    """Cross-entropy with the two bins around each distance, by how near they are."""
    low = distances.long()
    share = distances - low
    logs = bins.log_softmax(-1)
    left, right = (logs.gather(-1, place[..., None])[..., 0] for place in (low, low + 1))
    return -(left * (1 - share) + right * share)


def gfl(*, width: int = 16, bins: int = 8, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Build the detector; see `GFL`."""
    return GFL(num_classes, in_channels, width, bins)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(2 if outputs % 2 == 0 else 1, outputs), nn.ReLU())
