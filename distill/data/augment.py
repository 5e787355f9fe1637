"""Augmentation of a whole batch at once, on whatever device it lies."""

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.data.random import uniform


class Augment:
    """Random crops and flips.

    Args:
        crop_padding: pixels of zeros on each side before a crop of the original size; 0 for none.
        flip: mirror every second image, on average, left to right.
    """

    def __init__(self, crop_padding: int = 0, flip: bool = False) -> None:
        if crop_padding < 0:
            raise ValueError(f"crop_padding={crop_padding}: must be zero or more pixels")
        self.crop_padding = crop_padding
        self.flip = flip

    def __call__(self, images: Tensor, seed: int, epoch: int, indices: Tensor) -> Tensor:
        """Augment (N, C, H, W) uint8 images; what becomes of each depends on (seed, epoch, its index) alone."""
        if not self.crop_padding and not self.flip:
            return images
        draws = uniform(seed, epoch, indices, 3)
        if self.crop_padding:
            images = _crop(images, self.crop_padding, draws[:, 0], draws[:, 1])
        if self.flip:
            images = torch.where((draws[:, 2] < 0.5)[:, None, None, None], images.flip(3), images)
        return images


def _crop(images: Tensor, padding: int, vertical: Tensor, horizontal: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    padded = F.pad(images, [padding] * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, C, offsets, offsets, H, W)
    top = (vertical * windows.shape[2]).long()
    left = (horizontal * windows.shape[3]).long()
    return windows[torch.arange(len(images), device=images.device), :, top, left]
