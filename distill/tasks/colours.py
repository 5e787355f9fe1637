"""Classes as colours, in pictures."""

import colorsys

import torch
from torch import Tensor


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
