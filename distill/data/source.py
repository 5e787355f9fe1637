"""A data set before any choice of batches: its splits, and what the classes are called."""

import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from distill.data.augment import Augment
from distill.data.batches import Batches, ImageBatches, Order
from distill.data.image_format import ImageFormat
from distill.data.samples import Samples
from distill.data.split import Split
from distill.data.stream import Stream
from distill.data.token_format import TokenFormat
from distill.errors import SettingError
from distill.tasks import Classification, Task
from distill.types import SplitName

SAMPLED_FOR_STATISTICS = 256

Part = Literal["train", "val", "test"]
Only = Part | Literal["any"]
"""Which split alone is wanted; "any": the validation split, else the test split, else all there is."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source(ABC):
    """A training and a validation split with the same classes, and a test split where there is one.

    test: scored once, at the end; nothing is chosen by it.
    notes: what the user should know of how the data was read, a line each.
    task: what the labels are.
    unlabeled: how many samples at the end of the training split have no label.

    Attributes:
        noun: what its samples are called, in the plural. unit: what a paired test counts, where that differs.
        augmentable: whether `data.augment` can change them.
    """

    name: str
    train: Samples
    val: Samples
    class_names: Sequence[str]
    test: Samples | None = None
    notes: Sequence[str] = ()
    task: Task = field(default_factory=Classification)
    unlabeled: int = 0
    noun: ClassVar[str] = "samples"
    unit: ClassVar[str | None] = None
    augmentable: ClassVar[bool] = False

    @property
    def parts(self) -> Mapping[Part, Samples]:
        """The splits that there are, by name."""
        named: dict[Part, Samples | None] = {"train": self.train, "val": self.val, "test": self.test}
        return {part: split for part, split in named.items() if split is not None}

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def groups(self) -> Tensor | None:
        """(N,) int64, validation samples that belong together, as the pieces of a document; None: none do."""
        return None

    @property
    def positions(self) -> tuple[int, ...]:
        """How many tokens the longest sample of language models' data has; () of others, with one answer a sample."""
        return ()

    @property
    def longest(self) -> int | None:
        """Tokens of the longest sample that there may be, where samples are token sequences."""
        return None

    @property
    def tokens(self) -> float | None:
        """How many tokens a training sample has, the mean, of language models' data; None of others."""
        return None

    @property
    @abstractmethod
    def format(self) -> ImageFormat | TokenFormat:
        """What its samples are, for a finished run to show its networks others of the kind."""

    @property
    @abstractmethod
    def size_in_words(self) -> str:
        """How large a sample is: '32 x 32', '7 to 64 tokens'."""

    @abstractmethod
    def shown(self, index: int) -> Tensor | str:
        """A sample of the validation split as a report shows it: an image (C, H, W) uint8, or a text."""

    @abstractmethod
    def batches(
        self,
        split: SplitName,
        order: Order,
        *,
        augment: Augment | None = None,
        seed: int = 0,
        device: torch.device | None = None,
        workers: int = 0,
        pool: Tensor | None = None,
    ) -> Batches:
        """Batches of a split in an order.

        Args:
            split: which one.
            order: which samples a step shows.
            augment, seed: what is done to samples, and the seed of that.
            device: where batches come into being; None: on the CPU.
            workers: processes that read samples, where they are read one by one.
            pool: (S,) int64, the samples that others may be mixed with; None: those of a training order.
        """


@dataclass(frozen=True, slots=True)
class ImageSource(Source):
    """A source of images, all of one shape.

    resize, letterbox: how files were scaled, see `distill.data.image_format.ImageFormat`.

    Raises:
        SettingError: images or labels of a wrong shape or type, labels outside the classes, an empty split.
    """

    train: Split | Stream
    val: Split | Stream
    test: Split | Stream | None = None
    resize: int | None = None
    letterbox: bool = False
    noun: ClassVar[str] = "images"
    augmentable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for label, split in self.parts.items():
            unlabeled = self.unlabeled if label == "train" else 0
            _check_split(f"{self.name}: {label}", split, self.task, len(self.class_names), unlabeled)
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
        letterbox: bool = False,
    ) -> "ImageSource":
        """From splits by their names; one that is alone, because no other was wanted, stands for all."""
        named = dict(parts) if len(parts) > 1 else dict.fromkeys(typing.get_args(Part), *parts.values())
        given = (named["train"], named["val"], class_names, named.get("test"), notes, task or Classification())
        return cls(name, *given, resize=resize, letterbox=letterbox)

    @property
    def parts(self) -> Mapping[Part, Split | Stream]:
        """The splits that there are, by name."""
        named: dict[Part, Split | Stream | None] = {"train": self.train, "val": self.val, "test": self.test}
        return {part: split for part, split in named.items() if split is not None}

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.shape[0]

    @property
    def image_size(self) -> int:
        """Height of an image in pixels."""
        return self.train.shape[1]

    @property
    def size_in_words(self) -> str:
        """Height and width."""
        return " x ".join(map(str, self.train.shape[1:]))

    def shown(self, index: int) -> Tensor:
        """An image of the validation split, (C, H, W) uint8."""
        return self.val.show(torch.tensor([index]))[0]

    @property
    def format(self) -> ImageFormat:
        """What its images are, and how files become such."""
        channels, height, width = self.train.shape
        return ImageFormat(channels, height, width, self.resize, self.letterbox)

    def batches(
        self,
        split: SplitName,
        order: Order,
        *,
        augment: Augment | None = None,
        seed: int = 0,
        device: torch.device | None = None,
        workers: int = 0,
        pool: Tensor | None = None,
    ) -> Batches:
        """Batches of a split in an order; arguments as for any source."""
        return ImageBatches(
            self.train if split == "train" else self.val,
            order,
            num_classes=self.num_classes,
            task=self.task,
            augment=augment,
            seed=seed,
            device=device,
            workers=workers,
            pool=pool,
        )

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


def _check_split(label: str, split: Split | Stream, task: Task, classes: int, unlabeled: int) -> None:
    targets = split.targets
    if isinstance(split, Split):
        images = split.images
        if images.ndim != 4 or images.dtype != torch.uint8:
            raise SettingError(
                f"{label} images are {images.dtype} {tuple(images.shape)}; they must be uint8 (N, C, H, W)"
            )
        if targets.ndim == 0 or len(targets) != len(images):
            raise SettingError(f"{label} has {len(images)} images and labels of shape {tuple(targets.shape)}")
    check_labels(label, targets[: len(targets) - unlabeled], task, classes)
    if positions := task.positions(*split.shape[1:]):
        _check_size(label, tuple(targets.shape[1:]), positions)


def check_labels(label: str, targets: Tensor, task: Task, classes: int) -> None:
    """Raise SettingError, which begins with `label`, for a split without samples, or labels that aren't its task's."""
    if targets.dtype != task.dtype:
        raise SettingError(f"{label} labels are {targets.dtype}; they must be {str(task.dtype).removeprefix('torch.')}")
    if len(targets) == 0:
        raise SettingError(f"{label} split is empty")
    task.check_targets(label, targets, classes)


def _check_size(label: str, masks: tuple[int, ...], images: tuple[int, ...]) -> None:
    if masks not in (images, (1, 1)):  # of one pixel: of images of which nothing is known
        own, other = (" x ".join(map(str, size)) for size in (masks, images))
        raise SettingError(f"{label} masks are {own} and images {other}; must be of one size")
