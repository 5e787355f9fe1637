"""What happens to training images: one setting per operation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.data.augment import color, geometry, mixing
from distill.data.augment.trivial import trivial_augment
from distill.devices import to_device
from distill.errors import SettingError
from distill.placement import Placement
from distill.random import Uniform, uniform
from distill.seeding import derive_seed


@dataclass(frozen=True, slots=True)
class Augment:
    """Random changes of training images; by default none.

    Each operation draws from a stream of its own, so that switching one on leaves what the others do as it was.
    They are applied in the order given here.

    Args:
        zoom: enlarge each image by a random factor between these two, [0.5, 2.0], before a window of the size of the
            images, or of `crop`, is cut out at random, black where it goes beyond the image; None: as it is.
        crop: height and width of that window in pixels, [H, W]; None: as large as the images.
        resized_crop: crop a random share of the area, from this (e.g. 0.08) to the whole, with sides of 3:4 to 4:3,
            and scale it to the full size (Szegedy et al., arXiv 1409.4842); 0 for none. Images that stream from files
            are cropped before they are scaled down.
        crop_padding: pixels of black on each side before a crop of the original size; 0 for none.
        flip: mirror every second image, on average, left to right.
        color_jitter: brightness, contrast and saturation change by factors in 1 +- this; 0 for none, at most 1.
        trivial_augment: one of 14 operations with a random strength (TrivialAugment wide, arXiv 2103.10158).
        cutout: side in pixels of a square that is filled with the image's mean (arXiv 1708.04552); 0 for none.
        mixup: images and labels are blended with another sample's in shares from Beta(mixup, mixup)
            (arXiv 1710.09412); 0 for none.
        cutmix: a rectangle, of an area from Beta(cutmix, cutmix), is taken from another sample, and labels are blended
            in that proportion (arXiv 1905.04899); 0 for none. With mixup too, each sample gets one of them.

    Raises:
        ValueError: a setting out of its range.
    """

    zoom: list[float] | None = None
    crop: list[int] | None = None
    resized_crop: float = 0.0
    crop_padding: int = 0
    flip: bool = False
    color_jitter: float = 0.0
    trivial_augment: bool = False
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if self.zoom is not None and not (len(self.zoom) == 2 and 0 < self.zoom[0] <= self.zoom[1]):
            raise ValueError(f"zoom={self.zoom}: must be the least and the largest factor, such as [0.5, 2.0]")
        if self.crop is not None and not (len(self.crop) == 2 and min(self.crop) >= 1):
            raise ValueError(f"crop={self.crop}: must be height and width in pixels, such as [128, 128]")
        if not 0 <= self.resized_crop <= 1:
            raise ValueError(f"resized_crop={self.resized_crop}: must be a share of the area from 0 (none) to 1")
        if not 0 <= self.color_jitter <= 1:
            raise ValueError(f"color_jitter={self.color_jitter}: must be from 0 (none) to 1")
        for name in ("crop_padding", "cutout"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be zero or more pixels")
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(
                    f"{name}={getattr(self, name)}: must be zero (none) or the parameter of a Beta, e.g. 0.2"
                )

    @property
    def mixes(self) -> bool:
        """Whether samples are blended with others, so that targets become class probabilities."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def needs_float64(self) -> bool:
        """Whether an operation does, which Apple's GPUs haven't."""
        return bool(
            self.zoom or self.crop or self.resized_crop or self.color_jitter or self.trivial_augment or self.cutout
        )

    def __call__(
        self,
        images: Tensor,
        seed: int,
        epoch: int,
        indices: Tensor,
        cropped: bool = False,
        uniform: Uniform = uniform,
    ) -> Tensor:
        """Everything but mixing.

        Args:
            images: (N, C, H, W) uint8.
            seed, epoch: what becomes of an image depends on these and on its index alone.
            indices: (N,) int64, on the CPU: what is drawn there and sent to a GPU has nobody wait.
            cropped: `resized_crop` was done when the images were read.
            uniform: the random numbers, or where they were worked out before.

        Returns:
            (N, C, H, W) float32 in [0, 1].
        """

        def draws(operation: str, count: int, device: torch.device = images.device) -> Tensor:
            return to_device(uniform(derive_seed(seed, operation), epoch, indices, count), device)

        if self.zoom or self.crop:
            size = self.size(*images.shape[-2:])
            matrix = self._zoomed_crop(draws("zoom", 3), *images.shape[-2:])
            images = geometry.zoomed_crop(images, matrix, *size)
        if self.resized_crop and not cropped:
            images = geometry.resized_crop(images, self.resized_crop, draws("resized_crop", 4))
        if self.crop_padding:
            images = geometry.crop(images, self.crop_padding, draws("crop", 2))
        if self.flip:
            images = geometry.flip(images, draws("flip", 1))
        if self.color_jitter:
            images = color.jitter(images, self.color_jitter, draws("color_jitter", 3))
        if self.trivial_augment:
            images = trivial_augment(images, draws("trivial_augment", 3, indices.device))
        if self.cutout:
            images = geometry.cutout(images, self.cutout, draws("cutout", 2))
        return color.to_float(images)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of augmented images."""
        return (height, width) if self.crop is None else (self.crop[0], self.crop[1])

    def placement(
        self, height: int, width: int, seed: int, epoch: int, indices: Tensor, uniform: Uniform = uniform
    ) -> Placement:
        """Where the pixels of augmented images lay before, for what moves with them.

        Args:
            height, width: of the images before.
            seed, epoch, indices, uniform: as above.
        """

        def draws(operation: str, count: int) -> Tensor:
            return uniform(derive_seed(seed, operation), epoch, indices, count)

        tall, wide = self.size(height, width)
        placement = Placement.none(len(indices), height, width)
        if self.zoom or self.crop:
            placement = placement.then(self._zoomed_crop(draws("zoom", 3), height, width), tall, wide)
        if self.resized_crop:
            matrix = geometry.resized_crop_matrix(draws("resized_crop", 4), self.resized_crop, tall, wide)
            placement = placement.then(matrix)
        if self.crop_padding:
            placement = placement.then(geometry.crop_matrix(draws("crop", 2), self.crop_padding))
        if self.flip:
            placement = placement.then(geometry.flip_matrix(draws("flip", 1), wide))
        return placement

    def _zoomed_crop(self, draws: Tensor, height: int, width: int) -> Tensor:
        zoom = (1.0, 1.0) if self.zoom is None else (self.zoom[0], self.zoom[1])
        return geometry.zoomed_crop_matrix(draws, zoom, self.size(height, width), (height, width))

    def check_moves(self) -> None:
        """Raise SettingError for operations that masks and boxes cannot follow."""
        for name in ("mixup", "cutmix", "trivial_augment"):
            if getattr(self, name):
                raise SettingError(
                    f"data.augment.{name}={getattr(self, name)}: masks and boxes cannot follow it; leave it out, and "
                    "use zoom, crop, resized_crop, crop_padding, flip, color_jitter or cutout"
                )

    def partners(self, pool: Tensor, seed: int, epoch: int, indices: Tensor) -> Tensor:
        """With which sample each is mixed in an epoch.

        Args:
            pool: (S,) int64, the samples that may be seen.
            seed, epoch: as above.
            indices: (N,) int64.

        Returns:
            (N,) int64, drawn from the pool.
        """
        drawn = uniform(derive_seed(seed, "partner"), epoch, indices, 1)[:, 0].double()
        return pool[(drawn * len(pool)).long()]

    def mix(
        self,
        images: Tensor,
        targets: Tensor,
        others: Tensor,
        other_targets: Tensor,
        seed: int,
        epoch: int,
        indices: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Blend samples with their partners, both augmented already.

        Args:
            images, others: (N, C, H, W) float.
            targets, other_targets: (N, classes) float probabilities.
            seed, epoch, indices: of the samples, not of the partners.

        Returns:
            (N, C, H, W) images and (N, classes) targets.
        """
        draws = to_device(uniform(derive_seed(seed, "mix"), epoch, indices, 4), images.device)
        kept, share = mixing.kept(self.mixup, self.cutmix, draws, *images.shape[-2:])
        return torch.lerp(others, images, kept), torch.lerp(other_targets, targets, share)
