"""Images without labels, which a student may learn from its teacher alone: a transfer set beside the labelled one."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distill.data.folders import endings, image_files
from distill.data.image_folder import ImageFiles
from distill.data.loading import decode
from distill.data.source import ImageSource, Source
from distill.data.split import Split
from distill.data.stream import Readable, Stream
from distill.errors import SettingError
from distill.tasks import UNKNOWN


def with_unlabeled(source: Source, directory: str) -> ImageSource:
    """The source with all images below a directory at the end of its training split, under the label UNKNOWN.

    They come at the size and in the channels of the others, in memory where those are.

    Args:
        source: of images, each of one class.
        directory: with images at any depth.

    Raises:
        SettingError: no such directory, no image in it, one that cannot be read; data of another kind.
    """
    setting = f"data.unlabeled={directory}"
    if not isinstance(source, ImageSource) or "a class for each sample" not in source.task.traits:
        raise SettingError(f"{setting}: needs images of one class each, which {source.name} has not; must be null")
    folder = Path(directory).expanduser()
    if not folder.is_dir():
        raise SettingError(f"{setting}: no such directory; give one with images, at any depth")
    found = np.array([os.fsencode(path) for path, is_image in image_files(folder) if is_image])
    if not len(found):
        raise SettingError(f"{setting}: holds no images; known are {', '.join(endings())}")
    shape = source.train.shape
    files = ImageFiles(found, torch.full((len(found),), UNKNOWN), shape[0])
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
