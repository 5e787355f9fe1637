"""A data set before any choice of batches: two splits, and what the classes are called."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.errors import SettingError


@dataclass(frozen=True, slots=True)
class Split:
    """Images in memory.

    images: (N, C, H, W) uint8.
    targets: (N,) int64 class indices.
    """

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A training and a validation split with the same classes.

    Raises:
        SettingError: images or labels of a wrong shape or type, labels outside the classes, an empty split.
    """

    name: str
    train: Split
    val: Split
    class_names: Sequence[str]

    def __post_init__(self) -> None:
        for label, split in (("train", self.train), ("val", self.val)):
            _check_split(f"{self.name}: {label}", split, len(self.class_names))
        if self.train.images.shape[1:] != self.val.images.shape[1:]:
            raise SettingError(
                f"{self.name}: train images are {tuple(self.train.images.shape[1:])}, "
                f"val images {tuple(self.val.images.shape[1:])}; they must be of one shape"
            )

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return int(self.train.images.shape[1])

    @property
    def image_size(self) -> int:
        """Height of an image in pixels."""
        return int(self.train.images.shape[2])

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel of the training images in [0, 1], in float64."""
        pixels = self.train.images.transpose(0, 1).flatten(1)
        counts = torch.stack([torch.bincount(channel.int(), minlength=256) for channel in pixels]).double()
        levels = torch.arange(256, dtype=torch.float64) / 255
        share = counts / counts.sum(1, keepdim=True)
        mean = share @ levels
        std = ((share * (levels - mean[:, None]) ** 2).sum(1)).sqrt().clamp_min(1e-3)
        return [round(v, 4) for v in mean.tolist()], [round(v, 4) for v in std.tolist()]


def _check_split(label: str, split: Split, classes: int) -> None:
    images, targets = split.images, split.targets
    if images.ndim != 4 or images.dtype != torch.uint8:
        raise SettingError(f"{label} images are {images.dtype} {tuple(images.shape)}; they must be uint8 (N, C, H, W)")
    if targets.ndim != 1 or len(targets) != len(images):
        raise SettingError(f"{label} has {len(images)} images and labels of shape {tuple(targets.shape)}")
    if len(targets) == 0:
        raise SettingError(f"{label} split is empty")
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= classes:
        raise SettingError(f"{label} labels run from {low} to {high}, and there are {classes} classes: 0 to {classes - 1}")
