"""Operations on pixel values.

Images are (N, C, H, W), uint8 or float in [0, 1], and come out as floats; a factor is (N, 1, 1, 1), 1 for no change.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def to_float(images: Tensor) -> Tensor:
    """uint8 as float32 in [0, 1]; floats as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def to_bytes(images: Tensor) -> Tensor:
    """Floats in [0, 1] as uint8, rounded; uint8 as they are."""
    return images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)


def jitter(images: Tensor, strength: float, draws: Tensor) -> Tensor:
    """Brightness, then contrast, then saturation by factors in 1 +- strength; three draws."""
    factors = 1 + strength * (2 * draws - 1)
    for operation, factor in zip((brightness, contrast, saturation), factors.unbind(1), strict=True):
        images = operation(images, factor[:, None, None, None])
    return images


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Away from black."""
    return (to_float(images) * factor).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the image's mean grey."""
    images = to_float(images)
    return _away(images, exact_mean(grey(images), (1, 2, 3)), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Away from grey; nothing to an image that isn't of three channels."""
    images = to_float(images)
    return _away(images, grey(images), factor) if images.shape[1] == 3 else images


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the image smoothed by a 3 x 3 kernel of ones with a five in its middle; the border stays."""
    images = to_float(images)
    if min(images.shape[-2:]) < 3:
        return images
    smooth = images.clone()
    inner = smooth[..., 1:-1, 1:-1]
    inner.copy_((9 * F.avg_pool2d(images, 3, 1) + 4 * inner) / 13)
    return _away(images, smooth, factor)


def grey(images: Tensor) -> Tensor:
    """(N, 1, H, W): the luma of three channels, the mean of any other number."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return _LUMA[0] * images[:, :1] + _LUMA[1] * images[:, 1:2] + _LUMA[2] * images[:, 2:]


def exact_mean(images: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Mean over `dims`, kept, of values in [0, 1] in steps of 2^-24: whole numbers add up alike in any order."""
    count = 1
    for dim in dims:
        count *= images.shape[dim]
    total = (images.double() * 2**24).round().long().sum(dims, keepdim=True)
    return (total.double() / (count * 2**24)).float()


def _away(images: Tensor, origin: Tensor, factor: Tensor) -> Tensor:
    return (origin + (images - origin) * factor).clamp(0, 1)
