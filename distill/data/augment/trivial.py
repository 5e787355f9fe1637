"""TrivialAugment (Müller and Hutter, arXiv 2103.10158): one random operation of a random strength for each image."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from distill.data.augment import color
from distill.data.augment.geometry import affine
from distill.devices import to_device

_BINS = 31


class Operation(NamedTuple):
    """apply takes (n, C, H, W) float images and (n,) float64 strengths: up to `largest`, of both signs if `signed`."""

    apply: Callable[[Tensor, Tensor], Tensor]
    largest: float = 0.0
    signed: bool = False


def trivial_augment(images: Tensor, draws: Tensor) -> Tensor:
    """One operation of the wide space for each image.

    Args:
        images: (N, C, H, W), uint8 or float in [0, 1].
        draws: (N, 3), on the CPU: which operation, which of 31 strengths, which sign.

    Returns:
        (N, C, H, W) float in [0, 1].
    """
    result = color.to_float(images).clone()
    chosen = (draws[:, 0] * len(WIDE)).long()
    draws = to_device(draws, images.device)
    level = (draws[:, 1] * _BINS).floor().double() / (_BINS - 1)
    sign = torch.where(draws[:, 2] < 0.5, -1.0, 1.0)
    for number, (apply, largest, signed) in enumerate(WIDE):
        rows = to_device((chosen == number).nonzero().flatten(), images.device)
        if len(rows):
            strength = largest * level[rows] * (sign[rows] if signed else 1)
            result[rows] = apply(result[rows], strength)
    return result


def _identity(images: Tensor, _strength: Tensor) -> Tensor:
    return images


def _shear_x(images: Tensor, strength: Tensor) -> Tensor:
    """About the upper left corner, which lies half a pixel outside the first pixel's centre."""
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return affine(images, torch.stack([one, strength, strength / 2], 1), torch.stack([zero, one, zero], 1))


def _shear_y(images: Tensor, strength: Tensor) -> Tensor:
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return affine(images, torch.stack([one, zero, zero], 1), torch.stack([strength, one, strength / 2], 1))


def _translate_x(images: Tensor, pixels: Tensor) -> Tensor:
    one, zero = torch.ones_like(pixels), torch.zeros_like(pixels)
    return affine(images, torch.stack([one, zero, pixels.trunc()], 1), torch.stack([zero, one, zero], 1))


def _translate_y(images: Tensor, pixels: Tensor) -> Tensor:
    one, zero = torch.ones_like(pixels), torch.zeros_like(pixels)
    return affine(images, torch.stack([one, zero, zero], 1), torch.stack([zero, one, pixels.trunc()], 1))


def _rotate(images: Tensor, degrees: Tensor) -> Tensor:
    x, y = (images.shape[-1] - 1) / 2, (images.shape[-2] - 1) / 2
    cos, sin = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    columns = torch.stack([cos, -sin, x - cos * x + sin * y], 1)
    return affine(images, columns, torch.stack([sin, cos, y - sin * x - cos * y], 1))


def _factor(operation: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def apply(images: Tensor, strength: Tensor) -> Tensor:
        return operation(images, (1 + strength).float()[:, None, None, None])

    return apply


def _posterize(images: Tensor, dropped: Tensor) -> Tensor:
    """Keep the upper bits of each byte."""
    step = (2 ** dropped.round()).float()[:, None, None, None]
    return torch.floor(color.to_bytes(images).float() / step) * step / 255


def _solarize(images: Tensor, depth: Tensor) -> Tensor:
    """Invert what isn't darker than a threshold, which falls from white with the depth."""
    return torch.where(images >= (1 - depth).float()[:, None, None, None], 1 - images, images)


def _autocontrast(images: Tensor, _strength: Tensor) -> Tensor:
    """Stretch each channel to the full range."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp_min(1e-12), images)


def _equalize(images: Tensor, _strength: Tensor) -> Tensor:
    """Level each channel's histogram."""
    from torchvision.transforms.v2 import functional as vision  # takes a second

    return color.to_float(vision.equalize(color.to_bytes(images)))


WIDE = (
    Operation(_identity),
    Operation(_shear_x, 0.99, signed=True),
    Operation(_shear_y, 0.99, signed=True),
    Operation(_translate_x, 32, signed=True),
    Operation(_translate_y, 32, signed=True),
    Operation(_rotate, 135, signed=True),
    Operation(_factor(color.brightness), 0.99, signed=True),
    Operation(_factor(color.saturation), 0.99, signed=True),
    Operation(_factor(color.contrast), 0.99, signed=True),
    Operation(_factor(color.sharpness), 0.99, signed=True),
    Operation(_posterize, 6),
    Operation(_solarize, 1),
    Operation(_autocontrast),
    Operation(_equalize),
)
