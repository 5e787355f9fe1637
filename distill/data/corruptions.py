"""What cameras and networks do to images: common corruptions, to see what a network is worth on images that suffered.

The kinds and strengths are those of ImageNet-C (Hendrycks and Dietterich, 1903.12261); blur is as wide as there, or as
in CIFAR-10-C where images are so small that it would not be seen. Each takes (N, C, H, W) float images in [0, 1].
"""

from collections.abc import Callable, Mapping
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from distill.random import uniform

SEVERITIES = (1, 3, 5)
"""Of the five that there are, those that are looked at."""


def corrupt(kind: str, images: Tensor, indices: Tensor, severity: int) -> Tensor:
    """Images that suffered: the same for the same image whatever the batch.

    Args:
        kind: a key of CORRUPTIONS.
        images: (N, C, H, W) float in [0, 1].
        indices: (N,) int64 of the images in their split, by which noise is drawn.
        severity: from 1 to 5.

    Returns:
        (N, C, H, W) float in [0, 1], rounded to 256 levels as files have them.
    """
    changed = CORRUPTIONS[kind](images, indices, severity - 1).clamp(0, 1)
    return (255 * changed).round() / 255


def _gaussian_noise(images: Tensor, indices: Tensor, level: int) -> Tensor:
    drawn = uniform(0, 0, indices, 2 * images[0].numel()).view(len(images), 2, -1)
    radius = (-2 * (1 - drawn[:, 0]).log()).sqrt()  # Box and Muller's: uniform numbers to normal ones
    normal = radius * (2 * torch.pi * drawn[:, 1]).cos()
    return images + (0.08, 0.12, 0.18, 0.26, 0.38)[level] * normal.view_as(images)


def _blur(images: Tensor, indices: Tensor, level: int) -> Tensor:
    side = min(images.shape[-2:])
    sigma = max((1, 2, 3, 4, 6)[level] * side / 224, (0.4, 0.6, 0.7, 0.8, 1.0)[level])
    reach = min(int(4 * sigma) + 1, (side - 1) // 2)
    blurred: Tensor = gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)
    return blurred


def _brightness(images: Tensor, indices: Tensor, level: int) -> Tensor:
    return images + (0.1, 0.2, 0.3, 0.4, 0.5)[level]


def _contrast(images: Tensor, indices: Tensor, level: int) -> Tensor:
    mean = images.mean((2, 3), keepdim=True)
    return mean + (0.4, 0.3, 0.2, 0.1, 0.05)[level] * (images - mean)


def _pixelate(images: Tensor, indices: Tensor, level: int) -> Tensor:
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[level]
    small = [max(1, int(side * share)) for side in images.shape[-2:]]
    return F.interpolate(F.interpolate(images, size=small, mode="area"), size=images.shape[-2:], mode="nearest")


def _jpeg(images: Tensor, indices: Tensor, level: int) -> Tensor:
    changed = [_as_jpeg(image, (25, 18, 15, 10, 7)[level]) for image in (255 * images).round().byte().cpu()]
    return torch.stack(changed).to(images) / 255


def _as_jpeg(image: Tensor, quality: int) -> Tensor:
    """(C, H, W) uint8, grey or RGB, after it was a file of this quality."""
    file = BytesIO()
    Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).view(*image.shape[1:], -1).permute(2, 0, 1)


CORRUPTIONS: Mapping[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "gaussian_noise": _gaussian_noise,
    "blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}
