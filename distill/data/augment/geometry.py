"""Operations that move pixels or cover them. All take (N, C, H, W) images and (N, k) draws in [0, 1)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.data.augment.color import exact_mean, to_float


def flip(images: Tensor, draws: Tensor) -> Tensor:
    """Mirror the images whose only draw is below a half."""
    both = torch.cat([images, images.flip(3)])  # selecting whole images is several times faster than torch.where
    rows = torch.arange(len(images), device=images.device)
    return both.index_select(0, torch.where(draws[:, 0] < 0.5, rows + len(images), rows))


def crop(images: Tensor, padding: int, draws: Tensor) -> Tensor:
    """Pad with black by so many pixels and cut the original size out again; two draws."""
    count, channels, height, width = images.shape
    padded = F.pad(images, [padding] * 4).contiguous()
    image, plane, line, _ = padded.stride()
    # A view of every window of an image's shape that begins anywhere in the padded batch, to select from.
    begins = padded.numel() - (channels - 1) * plane - (height - 1) * line - width + 1
    windows = padded.as_strided((begins, channels, height, width), (1, plane, line, 1))
    top, left = (draws * (2 * padding + 1)).long().unbind(1)
    return windows.index_select(0, torch.arange(count, device=images.device) * image + top * line + left)


def resized_crop(images: Tensor, smallest: float, draws: Tensor) -> Tensor:
    """Cut out a window of at least that share of the area and scale it up to the full size; four draws.

    Returns:
        (N, C, H, W) float in [0, 1], bilinear.
    """
    height, width = images.shape[-2:]
    top, left, tall, wide = crop_window(draws, smallest, width / height).unbind(1)
    zero = torch.zeros_like(tall)
    rows = torch.stack([zero, tall, top * height + (tall - 1) / 2], 1)
    columns = torch.stack([wide, zero, left * width + (wide - 1) / 2], 1)
    return affine(images, columns, rows, mode="bilinear", padding="border")


def crop_window(draws: Tensor, smallest: float, aspect: float) -> Tensor:
    """Where `resized_crop` cuts.

    Args:
        draws: (N, 4).
        smallest: share of the area; the largest is the whole.
        aspect: width over height of the image.

    Returns:
        (N, 4) float64: top, left, height and width as shares of the image's height and width. The window's sides are
        as 3:4 to 4:3; one that would be longer than the image is cut to it.
    """
    area, shape, vertical, horizontal = draws.double().unbind(1)
    area = smallest + (1 - smallest) * area
    ratio = ((2 * shape - 1) * math.log(4 / 3)).exp()
    tall = (area / ratio * aspect).sqrt().clamp(max=1)
    wide = (area * ratio / aspect).sqrt().clamp(max=1)
    return torch.stack([vertical * (1 - tall), horizontal * (1 - wide), tall, wide], 1)


def affine(images: Tensor, columns: Tensor, rows: Tensor, mode: str = "nearest", padding: str = "zeros") -> Tensor:
    """Fetch each pixel from elsewhere: pixel (x, y) becomes what lay at (columns . (x, y, 1), rows . (x, y, 1)).

    Args:
        images: (N, C, H, W), uint8 or float in [0, 1].
        columns, rows: (N, 3) in pixels, x to the right and y down from the centre of the first pixel.
        mode: "nearest" or "bilinear".
        padding: "zeros" or "border".

    Returns:
        (N, C, H, W) float in [0, 1].
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device)[None, None, :]
    y = torch.arange(height, device=images.device)[None, :, None]

    def place(weights: Tensor, size: int) -> Tensor:  # in [-1, 1] from edge to edge, as grid_sample wants it
        a, b, c = weights.float()[:, :, None, None].unbind(1)
        return ((a * x + b * y + c) * 2 + 1) / size - 1

    grid = torch.stack([place(columns, width), place(rows, height)], 3)
    return F.grid_sample(to_float(images), grid, mode=mode, padding_mode=padding, align_corners=False)


def cutout(images: Tensor, side: int, draws: Tensor) -> Tensor:
    """Fill a square around a random pixel with the image's mean colour; what lies outside is cut off. Two draws."""
    images = to_float(images)
    height, width = images.shape[-2:]
    top = (draws[:, 0] * height).long() - side // 2
    left = (draws[:, 1] * width).long() - side // 2
    square = box(top, left, side, side, height, width)
    return torch.where(square, exact_mean(images, (2, 3)), images)


def box(top: Tensor, left: Tensor, tall: Tensor | int, wide: Tensor | int, height: int, width: int) -> Tensor:
    """(N, 1, height, width) bool: inside the rectangle of each sample; (N,) int64 corners and sides."""
    y = torch.arange(height, device=top.device)
    x = torch.arange(width, device=top.device)
    bottom, right = top + tall, left + wide
    rows = (y >= top[:, None]) & (y < bottom[:, None])
    columns = (x >= left[:, None]) & (x < right[:, None])
    return (rows[:, :, None] & columns[:, None, :])[:, None]
