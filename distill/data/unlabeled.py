"""Images without labels, which a student may learn from its teacher alone: a transfer set beside the labelled one."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distill.data.arrays import Rows
from distill.data.folders import endings, image_files
from distill.data.image_folder import ImageFiles
from distill.data.loading import decode
from distill.data.source import ImageSource, Source
from distill.data.split import Split
from distill.data.stream import Readable, Stream
from distill.errors import SettingError
from distill.tasks import UNKNOWN


def with_unlabeled(source: Source, place: str) -> ImageSource:
    """The source with all images of a place at the end of its training split, under the label UNKNOWN.

    They come at the size and in the channels of the others, in memory where those are.

    Args:
        source: of images, each of one class.
        place: a directory with images at any depth, or a .npy file of uint8 (N, H, W) or (N, H, W, C).

    Raises:
        SettingError: no such place, no image in it, one that cannot be read; data of another kind.
    """
    setting = f"data.unlabeled={place}"
    if not isinstance(source, ImageSource) or "a class for each sample" not in source.task.traits:
        raise SettingError(f"{setting}: needs images of one class each, which {source.name} has not; must be null")
    path, shape = Path(place).expanduser(), source.train.shape
    files: Readable = _array(path, setting, shape[0]) if path.is_file() else _files(path, setting, shape[0])
    skip = isinstance(source.train, Stream) and source.train.skip
    stream = Stream(files, shape, source.resize or min(shape[1:]), skip, source.letterbox)
    if isinstance(source.train, Stream):
        joined: Split | Stream = replace(source.train, source=Joined((source.train.source, files)))
        count = len(files.targets)
    else:
        decoded = decode(stream, as_they_are=False)
        assert decoded is not None  # `as_they_are` alone leaves any aside
        joined, count = _joined(source.train, decoded), len(decoded)
    return replace(source, train=joined, unlabeled=count)


def _files(folder: Path, setting: str, channels: int) -> ImageFiles:
    if not folder.is_dir():
        raise SettingError(f"{setting}: no such place; give a directory with images, at any depth, or a .npy file")
    found = np.array([os.fsencode(path) for path, is_image in image_files(folder) if is_image])
    if not len(found):
        raise SettingError(f"{setting}: holds no images; known are {', '.join(endings())}")
    return ImageFiles(found, torch.full((len(found),), UNKNOWN), channels)


def _array(file: Path, setting: str, channels: int) -> Rows:
    try:
        images = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise SettingError(f"{setting}: cannot be read as an array ({error}); write it with numpy.save") from None
    shape = tuple(getattr(images, "shape", ()))
    images = images[..., None] if len(shape) == 3 else images
    if len(shape) not in (3, 4) or not shape[0] or images.dtype != np.uint8 or images.shape[3] != channels:
        raise SettingError(
            f"{setting}: holds {getattr(images, 'dtype', 'no array')} {shape}; must be uint8 (N, H, W, {channels}), as "
            "many channels as the labelled images"
        )
    return Rows(images, torch.full((len(images),), UNKNOWN), file.stem)


@dataclass(frozen=True, slots=True)
class Joined:
    """Images of several places, one after the other."""

    parts: Sequence[Readable]

    @property
    def targets(self) -> Tensor:
        """(N,) int64."""
        return torch.cat([part.targets for part in self.parts])

    @property
    def version(self) -> str:
        """Changes when a part does."""
        return " ".join(str(getattr(part, "version", "")) for part in self.parts)

    def read(self, index: int) -> Tensor:
        """(C, H, W) uint8."""
        part, place = self._find(index)
        return part.read(place)

    def name(self, index: int) -> str:
        """As its part calls it."""
        part, place = self._find(index)
        return part.name(place)

    def _find(self, index: int) -> tuple[Readable, int]:
        for part in self.parts:
            if index < len(part.targets):
                return part, index
            index -= len(part.targets)
        raise IndexError(index)


def _joined(first: Split, second: Split) -> Split:
    names = [first.name(index) for index in range(len(first))]
    images, targets = torch.cat([first.images, second.images]), torch.cat([first.targets, second.targets])
    return Split(images, targets, [*names, *second.names])
