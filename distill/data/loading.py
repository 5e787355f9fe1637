"""From images that can be read one by one to an `ImageSource`: in memory where they fit, else as streams."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from distill.data.source import ImageSource, Part
from distill.data.split import Split
from distill.data.stream import Readable, Stream, UnreadableError
from distill.errors import SettingError
from distill.tasks import Task

log = logging.getLogger(__name__)

MEMORY_LIMIT = 2 * 2**30  # bytes of decoded images, both splits together, that `in_memory=auto` accepts
OWN_SIZE_LIMIT = 256  # pixels of the longer side up to which images of one size keep it
DEFAULT_SIZE = 224
CHUNK = 256

InMemory = bool | Literal["auto"]
OnError = Literal["stop", "skip"]


@dataclass(frozen=True, slots=True)
class Handling:
    """What the sources that read images one by one have in common; their settings of the same names.

    image_size: side in pixels; None keeps the images' own size where a sample of them has one of at most 256 pixels,
        and is 224 otherwise.
    resize: images are scaled until their shorter side has so many pixels before the middle is cut out; None for
        `image_size`.
    in_memory: decode all images once and keep them as bytes, on the training device; "auto" does so where it changes
        nothing (all have the size already) and takes at most 2 GiB.
    on_error: at an image that cannot be read, "stop", or "skip" it.
    letterbox: images are scaled until they fit whole, and padded, instead.

    Raises:
        ValueError: a setting out of its range.
    """

    image_size: int | None = None
    resize: int | None = None
    in_memory: InMemory = "auto"
    on_error: OnError = "stop"
    letterbox: bool = False

    def __post_init__(self) -> None:
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"image_size={self.image_size}: must be 1 or more pixels")
        if self.resize is not None and (self.image_size is None or self.resize < self.image_size):
            raise ValueError(f"resize={self.resize}: must be at least image_size={self.image_size}, and given with it")
        if self.in_memory not in (True, False, "auto"):
            raise ValueError(f"in_memory={self.in_memory}: must be true, false or auto")
        if self.on_error not in ("stop", "skip"):
            raise ValueError(f"on_error={self.on_error}: must be stop or skip")


def load(
    name: str,
    parts: Mapping[Part, Readable],
    class_names: Sequence[str],
    handling: Handling,
    threads: int | None = None,
    notes: Sequence[str] = (),
    task: Task | None = None,
) -> ImageSource:
    """Images as a source.

    Args:
        name: of the source.
        parts: the images by split: train, val and perhaps test; or one alone, which then stands for all.
        class_names: of the labels.
        handling: what to do with the images.
        threads: how many may read at once; None for as many as there are cores.
        notes: what the user should know of how they were found.
        task: what the labels are; None for classes.

    Raises:
        SettingError: an image cannot be read, where those are not to be skipped; or what `ImageSource` raises.
    """
    shape = _shape(next(iter(parts.values())), handling)
    resize = handling.resize or min(shape[1:])
    skip = handling.on_error == "skip"
    streams = {part: Stream(source, shape, resize, skip, handling.letterbox) for part, source in parts.items()}
    needed = sum(map(len, streams.values())) * math.prod(shape)
    splits: Mapping[Part, Split | Stream] = streams
    as_they_are = handling.in_memory == "auto" and not handling.letterbox  # which nothing is cut out of at random
    if keep_in_memory(handling.in_memory, needed) and not (as_they_are and resize != min(shape[1:])):
        decoded = {part: decode(stream, as_they_are, threads) for part, stream in streams.items()}
        if None not in decoded.values():
            splits = {part: split for part, split in decoded.items() if split is not None}
    counts = " + ".join(str(len(split)) for split in splits.values())
    where = "read as they are needed" if splits is streams else "in memory"
    log.info("%s: %s images of %s, %s", name, counts, tuple(shape), where)
    return ImageSource.of(name, splits, class_names, resize, notes, task, handling.letterbox)


def keep_in_memory(in_memory: InMemory, needed: int) -> bool:
    """Whether so many bytes of decoded images are to live in memory."""
    return needed <= MEMORY_LIMIT if in_memory == "auto" else in_memory


def _shape(source: Readable, handling: Handling) -> tuple[int, int, int]:
    """Channels, height and width that the images shall have."""
    sample = np.linspace(0, len(source.targets) - 1, 16).astype(int).tolist() if len(source.targets) else []
    shapes = []
    for index in dict.fromkeys(sample):
        try:
            shapes.append(tuple(source.read(index).shape))
        except Exception as error:  # as in Stream.read, which says it at the right time where images may be skipped
            failure = UnreadableError.of(source.name(index), error)
            if handling.on_error == "stop":
                raise failure.as_setting_error() from None
    if not shapes:
        raise SettingError(f"data: not one of {len(sample)} training images that were tried can be read")
    channels, height, width = shapes[0]
    if handling.image_size is None and len(set(shapes)) == 1 and max(height, width) <= OWN_SIZE_LIMIT:
        return channels, height, width
    size = handling.image_size or DEFAULT_SIZE
    return channels, size, size


class _OtherSizeError(Exception):
    """An image is not of the size that its stream gives out."""


def decode(stream: Stream, as_they_are: bool, threads: int | None = None) -> Split | None:
    """A stream's images in memory, or None where `as_they_are` and one of them is not of the size already."""
    images = torch.empty(len(stream), *stream.shape, dtype=torch.uint8)
    kept = torch.ones(len(stream), dtype=torch.bool)

    def decode(index: int) -> UnreadableError | None:
        try:
            image = stream.read(index)
        except UnreadableError as error:
            return error
        if as_they_are and image.shape != stream.shape:
            raise _OtherSizeError
        images[index] = stream.fit(image)
        return None

    try:
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            for start in range(0, len(stream), CHUNK):  # so that little is begun in vain
                chunk = range(start, min(start + CHUNK, len(stream)))
                for index, failure in zip(chunk, pool.map(decode, chunk), strict=True):
                    if failure is not None:
                        stream.leave_out(failure)
                        kept[index] = False
    except _OtherSizeError:
        return None
    if kept.all():
        return Split(images, stream.targets, [stream.name(i) for i in range(len(stream))])
    log.warning("%d of %d images could not be read and were left out", len(kept) - int(kept.sum()), len(stream))
    names = [stream.name(i) for i in kept.nonzero().flatten().tolist()]
    return Split(images[kept], stream.targets[kept], names)
