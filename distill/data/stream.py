"""Images that are read and decoded when they are asked for."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from distill.data.augment.color import to_float
from distill.data.augment.geometry import crop_window
from distill.data.pixels import PixelError
from distill.errors import SettingError
from distill.random import uniform
from distill.seeding import derive_seed

log = logging.getLogger(__name__)

TOLD_BY = 64  # images by which a stream is told from another


class Readable(Protocol):
    """Where a stream's images come from; it is sent to worker processes."""

    @property
    def targets(self) -> Tensor:
        """(N, ...) int64 labels, as the task has them."""
        ...

    def read(self, index: int) -> Tensor:
        """One image, (C, H, W) uint8 of any size; raises whatever it likes where that cannot be done."""
        ...

    def name(self, index: int) -> str:
        """What to call an image in a message: its path."""
        ...


@dataclass(frozen=True, slots=True)
class Relabelled:
    """Images under other labels."""

    source: Readable
    targets: Tensor

    def read(self, index: int) -> Tensor:
        """(C, H, W) uint8."""
        return self.source.read(index)

    def name(self, index: int) -> str:
        """As before."""
        return self.source.name(index)


class UnreadableError(Exception):
    """An image that could not be read: its name, and why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def as_setting_error(self) -> SettingError:
        """The message for a user who did not choose to skip such images."""
        return SettingError(
            f"data: {self.name} cannot be read ({self.reason}); mend it or take it away, "
            "or leave such images out with data.on_error=skip"
        )

    @classmethod
    def of(cls, name: str, error: Exception) -> "UnreadableError":
        """Of whatever a decoder raised, in one line."""
        text = str(error).strip().split("\n")[0]
        if isinstance(error, PixelError):
            return cls(name, text)
        return cls(name, f"{type(error).__name__}: {text}" if text else type(error).__name__)


@dataclass(frozen=True, slots=True)
class Stream:
    """A split whose images come into being one by one, at one size.

    source: reads and decodes.
    shape: channels, height and width of the images that come out.
    resize: an image is scaled until its shorter side has so many pixels, and its middle is cut out.
    skip: whether an image that cannot be read is left out, instead of ending the run.
    unreadable: reason by name of the images that were left out so far, in this process.
    """

    source: Readable
    shape: tuple[int, int, int]
    resize: int
    skip: bool = False
    unreadable: dict[str, str] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def targets(self) -> Tensor:
        """(N, ...) int64 labels, as the task has them."""
        return self.source.targets

    def name(self, index: int) -> str:
        """What to call an image: its path."""
        return self.source.name(index)

    def contents(self) -> Iterator[bytes]:
        """Of all labels, what the source says of its files, and a few images."""
        yield f"{self.shape} {len(self)}".encode()
        yield self.targets.numpy().tobytes()
        yield f"{self.resize} {self.skip} {getattr(self.source, 'version', '')}".encode()
        for index in torch.linspace(0, len(self) - 1, TOLD_BY).long().tolist():
            try:
                yield self.view(index).numpy().tobytes()
            except UnreadableError:
                yield b"unreadable"

    def show(self, indices: Tensor) -> Tensor:
        """(n, C, H, W) uint8: the images at (n,) indices, unaugmented; for one that is left out, the next in its place.

        Raises:
            SettingError: an image cannot be read, and those aren't to be skipped; or none can be read.
        """
        return torch.stack([self._view_or_next(index) for index in indices.tolist()])

    @property
    def lengths(self) -> None:
        """Images are of one size."""
        return None

    def inputs(self, indices: Tensor) -> Tensor:
        """(n, C, H, W) float in [0, 1]: the same images.

        Raises:
            SettingError: as `show`.
        """
        return to_float(self.show(indices))

    def leave_out(self, failure: UnreadableError) -> None:
        """Note that an image cannot be read, and say so the first time.

        Raises:
            SettingError: those aren't to be skipped.
        """
        if not self.skip:
            raise failure.as_setting_error() from None
        if failure.name not in self.unreadable:
            self.unreadable[failure.name] = failure.reason
            log.warning("%s cannot be read (%s) and is left out", failure.name, failure.reason)

    def _view_or_next(self, index: int) -> Tensor:
        for following in range(len(self)):
            try:
                return self.view((index + following) % len(self))
            except UnreadableError as error:
                self.leave_out(error)
        raise SettingError(f"data.on_error=skip: not one of {len(self)} images can be read, e.g. {self.source.name(0)}")

    def view(self, index: int) -> Tensor:
        """(C, H, W) uint8: an image as validation sees it.

        Raises:
            UnreadableError: it cannot be read, or has another number of channels.
        """
        return self.fit(self.read(index))

    def fit(self, image: Tensor) -> Tensor:
        """(C, H, W) uint8: the middle of a (C, *, *) image."""
        scaled: Tensor = vision.resize(image, [self.resize], antialias=True)
        middle: Tensor = vision.center_crop(scaled, list(self.shape[1:]))
        return middle.contiguous()

    def random_view(self, index: int, smallest: float, seed: int, epoch: int) -> Tensor:
        """(C, H, W) uint8: a random window of at least that share of the area, a function of (seed, epoch, index).

        Raises:
            UnreadableError: as above.
        """
        image = self.read(index)
        height, width = image.shape[-2:]
        draws = uniform(derive_seed(seed, "resized_crop"), epoch, torch.tensor([index]), 4)
        shares = crop_window(draws, smallest, width / height)[0] * torch.tensor([height, width, height, width])
        top, left, tall, wide = shares.round().long().tolist()
        tall, wide = max(1, tall), max(1, wide)
        top, left = min(top, height - tall), min(left, width - wide)
        window: Tensor = vision.resized_crop(image, top, left, tall, wide, list(self.shape[1:]), antialias=True)
        return window.contiguous()

    def read(self, index: int) -> Tensor:
        """(C, H, W) uint8 of any size.

        Raises:
            UnreadableError: as above.
        """
        try:
            image = self.source.read(index)
        except Exception as error:  # decoders raise whatever occurs to them at a broken file
            raise UnreadableError.of(self.source.name(index), error) from None
        if image.ndim != 3 or image.shape[0] != self.shape[0] or image.dtype != torch.uint8:
            found = f"it is {image.dtype} {tuple(image.shape)}, not uint8 ({self.shape[0]}, H, W)"
            raise UnreadableError(self.source.name(index), found)
        return image
