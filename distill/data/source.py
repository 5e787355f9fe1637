"""A data set before any choice of batches: its splits, and what the classes are called."""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Literal, TypeVar

import torch
from torch import Tensor

from distill.data.image_format import ImageFormat
from distill.data.stream import Relabelled, Stream
from distill.errors import SettingError
from distill.tasks import Classification, Task

SAMPLED_FOR_STATISTICS = 256

Part = Literal["train", "val", "test"]
Only = Part | Literal["any"]
"""Which split alone is wanted; "any": the validation split, else the test split, else all there is."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Split:
    """Images in memory.

    images: (N, C, H, W) uint8.
    targets: (N, ...), as the task has them: (N,) int64 class indices, (N, C) int64 of 0 and 1, (N, H, W) uint8 masks.
    names: of the images, such as paths; where there are none, an image's place in the split is its name.
    """

    images: Tensor
    targets: Tensor
    names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def show(self, indices: Tensor) -> Tensor:
        """(n, C, H, W) uint8: the images at (n,) indices, unaugmented."""
        return self.images[indices]

    def name(self, index: int) -> str:
        """What to call an image."""
        return self.names[index] if self.names else str(index)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A training and a validation split with the same classes, and a test split where there is one.

    resize: what files were scaled to, see `distill.data.image_format.ImageFormat`.
    test: scored once, at the end; nothing is chosen by it.
    notes: what the user should know of how the data was read, a line each.
    task: what the labels are.

    Raises:
        SettingError: images or labels of a wrong shape or type, labels outside the classes, an empty split.
    """

    name: str
    train: Split | Stream
    val: Split | Stream
    class_names: Sequence[str]
    resize: int | None = None
    test: Split | Stream | None = None
    notes: Sequence[str] = ()
    task: Task = field(default_factory=Classification)

    def __post_init__(self) -> None:
        for label, split in self.parts.items():
            _check_split(f"{self.name}: {label}", split, self.task, len(self.class_names))
            if self.train.shape != split.shape:
                raise SettingError(
                    f"{self.name}: train images are {self.train.shape}, {label} images {split.shape}; "
                    "they must be of one shape"
                )

    @classmethod
    def of(
        cls,
        name: str,
        parts: Mapping[Part, Split | Stream],
        class_names: Sequence[str],
        resize: int | None = None,
        notes: Sequence[str] = (),
        task: Task | None = None,
    ) -> "ImageSource":
        """From splits by their names; one that is alone, because no other was wanted, stands for all."""
        named = dict(parts) if len(parts) > 1 else dict.fromkeys(typing.get_args(Part), *parts.values())
        task = task or Classification()
        return cls(name, named["train"], named["val"], class_names, resize, named.get("test"), notes, task)

    @property
    def parts(self) -> dict[Part, Split | Stream]:
        """The splits that there are, by name."""
        named: dict[Part, Split | Stream | None] = {"train": self.train, "val": self.val, "test": self.test}
        return {part: split for part, split in named.items() if split is not None}

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.shape[0]

    @property
    def image_size(self) -> int:
        """Height of an image in pixels."""
        return self.train.shape[1]

    @property
    def format(self) -> ImageFormat:
        """What its images are, and how files become such."""
        channels, height, width = self.train.shape
        return ImageFormat(channels, height, width, self.resize)

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel of the training images in [0, 1], in float64.

        Of all images in memory; of 256, evenly spaced, where they stream from files.
        """
        if isinstance(self.train, Split):
            images = self.train.images
        else:
            images = self.train.show(torch.linspace(0, len(self.train) - 1, SAMPLED_FOR_STATISTICS).long().unique())
        counts = torch.stack(
            [torch.bincount(channel.reshape(-1), minlength=256) for channel in images.unbind(1)]
        ).double()
        levels = torch.arange(256, dtype=torch.float64) / 255
        share = counts / counts.sum(1, keepdim=True)
        mean = share @ levels
        std = (share * (levels - mean[:, None]) ** 2).sum(1).sqrt().clamp_min(1e-3)
        return [round(v, 4) for v in mean.tolist()], [round(v, 4) for v in std.tolist()]


def _check_split(label: str, split: Split | Stream, task: Task, classes: int) -> None:
    targets = split.targets
    if isinstance(split, Split):
        images = split.images
        if images.ndim != 4 or images.dtype != torch.uint8:
            raise SettingError(
                f"{label} images are {images.dtype} {tuple(images.shape)}; they must be uint8 (N, C, H, W)"
            )
        if targets.ndim == 0 or len(targets) != len(images):
            raise SettingError(f"{label} has {len(images)} images and labels of shape {tuple(targets.shape)}")
    if targets.dtype != task.dtype:
        raise SettingError(f"{label} labels are {targets.dtype}; they must be {str(task.dtype).removeprefix('torch.')}")
    if len(targets) == 0:
        raise SettingError(f"{label} split is empty")
    task.check_targets(label, targets, classes)


def check_same_classes(names: Mapping[Part, Sequence[str]], setting: str) -> None:
    """Raise SettingError if splits call their classes differently, so that a number doesn't mean the same in all."""
    known = [*names.values()]
    for part, own in names.items():
        if [*own] != [*known[0]]:
            here, there = next(pair for pair in zip_longest(own, known[0], fillvalue="none") if pair[0] != pair[1])
            raise SettingError(
                f"{setting}: the classes of {part} are not those of {next(iter(names))}, such as {here} in place of "
                f"{there}; must be the same in the same order"
            )


def relabelled(split: Split | Stream, targets: Tensor) -> Split | Stream:
    """The images with other labels, one for each."""
    if isinstance(split, Split):
        return replace(split, targets=targets)
    return replace(split, source=Relabelled(split.source, targets))


def wanted(found: Mapping[Part, T], only: Only | None, setting: str) -> dict[Part, T]:
    """Those of the splits found that are asked for.

    Args:
        found: what there is, by name.
        only: which alone is wanted; None: all.
        setting: the setting that says where the data is, with its value, for the message.

    Raises:
        SettingError: there is no such split.
    """
    if only is None:
        return dict(found)
    part = next((part for part in ("val", "test", "train") if part in found), None) if only == "any" else only
    if part is None or part not in found:
        known = [name for name in typing.get_args(Part) if name in found]
        raise SettingError(f"split={only}: {setting} has no such split, but {', '.join(known) or 'none'}")
    return {part: found[part]}
