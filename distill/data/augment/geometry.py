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


def flip_matrix(draws: Tensor, width: int) -> Tensor:
    """(N, 2, 3) float64: what `flip` does to pixels, as `distill.placement.Placement` has it."""
    mirrored = draws[:, 0] < 0.5
    return _matrix(x=(torch.where(mirrored, -1, 1), torch.where(mirrored, width - 1, 0)))


def crop_matrix(draws: Tensor, padding: int) -> Tensor:
    """(N, 2, 3) float64, likewise of `crop`."""
    top, left = (draws * (2 * padding + 1)).long().unbind(1)
    one = torch.ones_like(top)
    return _matrix(x=(one, left - padding), y=(one, top - padding))


def resized_crop(images: Tensor, smallest: float, draws: Tensor) -> Tensor:
    """Cut out a window of at least that share of the area and scale it up to the full size; four draws.

    Returns:
        (N, C, H, W) float in [0, 1], bilinear.
    """
    columns, rows = resized_crop_matrix(draws, smallest, *images.shape[-2:]).unbind(1)
    return affine(images, columns, rows, mode="bilinear", padding="border")


def resized_crop_matrix(draws: Tensor, smallest: float, height: int, width: int) -> Tensor:
    """(N, 2, 3) float64, likewise of `resized_crop`."""
    top, left, tall, wide = crop_window(draws, smallest, width / height).unbind(1)
    return _matrix(x=(wide, left * width + (wide - 1) / 2), y=(tall, top * height + (tall - 1) / 2))


def zoomed_crop(images: Tensor, matrix: Tensor, height: int, width: int) -> Tensor:
    """The window that `zoomed_crop_matrix` says; (N, C, height, width) float in [0, 1], bilinear, black outside."""
    columns, rows = matrix.unbind(1)
    return affine(images, columns, rows, mode="bilinear", height=height, width=width)


def zoomed_crop_matrix(
    draws: Tensor, zoom: tuple[float, float], window: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Enlarge by a random factor, then cut a window out, which goes beyond the image where that is smaller.

    Args:
        draws: (N, 3).
        zoom: the least and the largest factor, all between them alike by their logarithms.
        window, size: height and width of what is cut out, and of the images.

    Returns:
        (N, 2, 3) float64, as above.
    """
    share, vertical, horizontal = draws.double().unbind(1)
    low, high = map(math.log, zoom)
    step = (-(low + (high - low) * share)).exp()  # of the original's pixels, from one pixel to the next
    corners = [place * (old - step * new) for place, old, new in zip((vertical, horizontal), size, window, strict=True)]
    top, left = (corner + (step - 1) / 2 for corner in corners)
    return _matrix(x=(step, left), y=(step, top))


def _matrix(x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """(N, 2, 3) float64 of factor and offset, (N,) each, in either direction; None moves nothing."""
    zero = torch.zeros(len(x[0]), dtype=torch.float64, device=x[0].device)
    down = (torch.ones_like(zero), zero) if y is None else y
    columns = torch.stack([x[0].double(), zero, x[1].double()], 1)
    return torch.stack([columns, torch.stack([zero, down[0].double(), down[1].double()], 1)], 1)


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


def affine(
    images: Tensor,
    columns: Tensor,
    rows: Tensor,
    mode: str = "nearest",
    padding: str = "zeros",
    height: int | None = None,
    width: int | None = None,
) -> Tensor:
    """Fetch each pixel from elsewhere: pixel (x, y) becomes what lay at (columns . (x, y, 1), rows . (x, y, 1)).

    Args:
        images: (N, C, H, W), uint8 or float in [0, 1].
        columns, rows: (N, 3) in pixels, x to the right and y down from the centre of the first pixel.
        mode: "nearest" or "bilinear".
        padding: "zeros" or "border".
        height, width: of what comes out; None: the images' own.

    Returns:
        (N, C, height, width) float in [0, 1].
    """
    tall, wide = images.shape[-2:]
    x = torch.arange(width or wide, device=images.device)[None, None, :]
    y = torch.arange(height or tall, device=images.device)[None, :, None]

    def place(weights: Tensor, size: int) -> Tensor:  # in [-1, 1] from edge to edge, as grid_sample wants it
        a, b, c = weights.float()[:, :, None, None].unbind(1)
        return ((a * x + b * y + c) * 2 + 1) / size - 1

    grid = torch.stack([place(columns, wide), place(rows, tall)], 3)
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
