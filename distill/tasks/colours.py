"""Classes as colours, in pictures of masks and of boxes."""

import colorsys
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

LEGIBLE = 256  # pixels of the longer side from which on the names of boxes can be read


def palette(count: int = 256) -> Tensor:
    """(count, 3) uint8: the first is nearly black, the next ones far apart in hue, then in brightness."""
    rows = [(0.12, 0.12, 0.14)]
    for i in range(count - 1):
        hue, ring = (i * 0.61803398875) % 1, i // 10 % 3
        rows.append(colorsys.hsv_to_rgb(hue, (0.75, 0.5, 0.95)[ring], (0.95, 1.0, 0.6)[ring]))
    return (255 * torch.tensor(rows)).round().to(torch.uint8)


def painted(mask: Tensor, ignored: int) -> Tensor:
    """(H, W) classes as a picture (3, H, W) uint8; what doesn't count is white."""
    colours = palette()[mask.long().clamp(0, 255)].permute(2, 0, 1)
    return torch.where(mask == ignored, torch.full_like(colours, 255), colours)


def with_boxes(image: Tensor, corners: Tensor, labels: Tensor, class_names: Sequence[str]) -> Tensor:
    """(C, h, w) uint8 with (m, 4) boxes in its pixels: (3, H, W) uint8, so many times larger that names are legible."""
    factor = max(1, round(LEGIBLE / max(image.shape[1:])))
    large = image.expand(3, -1, -1).repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    if not len(corners):
        return large
    colours = [tuple(colour) for colour in palette()[labels + 1].tolist()]
    names = [str(class_names[label]) for label in labels.tolist()]
    drawn: Tensor = draw_bounding_boxes(large, factor * corners, names, colours, width=2)
    return drawn
