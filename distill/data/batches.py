"""Splits to batches on the device, in an order."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from distill.data.augment import Augment
from distill.data.order import Draw, EvaluationOrder, ListedOrder, TrainingOrder
from distill.data.readers import ATTEMPTS, Decoded, MemoryReader, StreamReader
from distill.data.samples import Samples, Sequences
from distill.data.split import Split
from distill.data.stream import Stream
from distill.devices import to_device
from distill.errors import SettingError
from distill.placement import Placement
from distill.random import Drawn, Uniform, uniform
from distill.signals import ignore_in_worker
from distill.tasks import Classification, Task
from distill.types import Batch

Order = TrainingOrder | EvaluationOrder | ListedOrder


class Batches(ABC):
    """Batches of a split in an order, any number of times; each is a `distill.types.Batch` on the device.

    Args:
        split: the samples.
        order: which of them a step shows.
        device: where batches come into being; None: on the CPU.
        workers: processes that read samples; 0 reads them in this one.
    """

    def __init__(self, split: Samples, order: Order, device: torch.device | None = None, workers: int = 0) -> None:
        self.split = split
        self.order = order
        self.batch_sampler = order  # where Lightning looks for a `sampler` that has a `set_epoch`
        self.device = device or torch.device("cpu")
        self.workers = workers
        self._drawn = 0
        self.waiting_since: float | None = None  # by time.monotonic, while a batch is asked for and not there yet

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        # A generator on purpose: workers start at the first batch asked for, when Lightning has set the epoch.
        self._drawn = self.order.first if isinstance(self.order, TrainingOrder) else 0
        self.waiting_since = time.monotonic()
        for batch in self._made():
            self._drawn += 1
            if len(batch):
                self.waiting_since = None
                yield batch
                self.waiting_since = time.monotonic()
        self.waiting_since = None

    def state_dict(self) -> dict[str, int]:
        """How many batches of the current iteration were shown, for a checkpoint."""
        return {"drawn": self._drawn}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin the next iteration where that one was; what it had shown is not read again."""
        assert isinstance(self.order, TrainingOrder)
        self.order.first = state_dict["drawn"]

    def _made(self) -> Iterator[Batch]:
        """The batches of an iteration, in order."""
        return map(self.__getitems__, self.order)

    @abstractmethod
    def __getitems__(self, draw: Draw) -> Batch:
        """The batch that a draw names, made in this process."""


class SequenceBatches(Batches):
    """Batches of sequences, padded to the longest of each batch."""

    split: Sequences
    accumulated = 1  # batches of an optimizer's step, whose positions that count are one sum; in one process

    def _made(self) -> Iterator[Batch]:
        """The batches of an iteration, each with how many positions count in its step's batches on average."""
        draws = iter(self.order)
        while step := [self.__getitems__(draw) for draw in islice(draws, self.accumulated)]:
            counts = [0 if batch.valid is None else int(batch.valid.sum()) for batch in step]
            several = self.accumulated > 1 and any(counts)
            yield from (replace(b, counted=sum(counts) / self.accumulated if several else None) for b in step)

    def __getitems__(self, draw: Draw) -> Batch:
        """The batch that a draw names."""
        batch = replace(self.split.batch(draw.indices), indices=draw.indices, epoch=draw.epoch)
        return batch.to(self.device)


class ImageBatches(Batches):
    """Batches of images: read, moved to the device, augmented there.

    Args:
        split: the images; those in memory are moved to `device` once, unless it cannot augment them, or `order` lists
            samples that are shown but once.
        order: which samples a step shows. In training, an image that cannot be read is replaced by another of the
            order's samples; in evaluation it is left out of its batch.
        num_classes: of the labels.
        task: what the labels are; None for classes.
        augment: what to do to the images.
        seed: of the augmentation.
        device: where batches come into being.
        workers: processes that read a stream; 0 reads it in this one.
        pool: (S,) int64, the samples that others are mixed with and replaced by; None: those of a training order.

    Raises:
        SettingError: while iterating, at an image that cannot be read, unless the stream skips those.
    """

    split: Split | Stream

    def __init__(
        self,
        split: Split | Stream,
        order: Order,
        *,
        num_classes: int,
        task: Task | None = None,
        augment: Augment | None = None,
        seed: int = 0,
        device: torch.device | None = None,
        workers: int = 0,
        pool: Tensor | None = None,
    ) -> None:
        super().__init__(split, order, device, workers if isinstance(split, Stream) else 0)
        self.num_classes = num_classes
        self.task = task or Classification()
        self.augment = augment or Augment()
        self.seed = seed
        elsewhere = self.device.type == "mps" and (self.augment.needs_float64 or self.task.moves)
        self._workplace = torch.device("cpu") if elsewhere else self.device
        if pool is None:
            pool = order.samples if isinstance(order, TrainingOrder) else torch.empty(0, dtype=torch.long)
        if isinstance(split, Split):
            once = isinstance(order, ListedOrder)  # each sample is shown once: no reason to move all of them
            images = split.images if once else split.images.to(self._workplace)
            self.reader: MemoryReader | StreamReader = MemoryReader(images, self.augment, seed, pool)
            self._uniform: Uniform = Drawn(len(split))
        else:
            self._uniform = uniform
            self.reader = StreamReader(split, self.augment, seed, pool, crops=not self.task.moves)
            self._loader = DataLoader(
                self.reader,
                batch_sampler=order,  # type: ignore[arg-type]
                num_workers=workers,
                collate_fn=_as_it_is,
                worker_init_fn=ignore_in_worker,
                pin_memory=self.device.type == "cuda",
                generator=torch.Generator(),  # its own: a loader draws from torch's global one otherwise
            )

    def _made(self) -> Iterator[Batch]:
        if isinstance(self.reader, MemoryReader):
            return super()._made()
        return map(self._finish, self._loader)

    def __getitems__(self, draw: Draw) -> Batch:
        """The batch that a draw names, made in this process."""
        return self._finish(self.reader.__getitems__(draw))

    def _finish(self, decoded: Decoded) -> Batch:
        """From decoded images to a batch on the device: augmented, and mixed with their partners."""
        self._report(decoded)
        images, targets, indices = self._augmented(decoded)
        batch = Batch(images, targets, indices, self.task.valid(targets), epoch=decoded.epoch)
        return batch.to(self.device)

    def _augmented(self, decoded: Decoded) -> tuple[Tensor, Tensor, Tensor]:
        """Images, targets, and indices."""
        indices, images = decoded.indices, to_device(decoded.images, self._workplace)
        cropped = isinstance(self.reader, StreamReader) and not self.task.moves
        placement = self._placement(decoded) if self.task.moves else None
        images = self.augment(images, self.seed, decoded.epoch, indices, cropped, self._uniform)
        targets = self.task.as_shown(to_device(self.split.targets[indices], self._workplace), placement)
        if not self.augment.mixes:
            return images, targets, indices
        targets = self.task.as_probabilities(targets, self.num_classes)
        (images, others), (targets, other_targets) = images.chunk(2), targets.chunk(2)
        indices = indices[: len(images)]
        mixed = self.augment.mix(images, targets, others, other_targets, self.seed, decoded.epoch, indices)
        return *mixed, indices

    def _placement(self, decoded: Decoded) -> Placement | None:
        """What augmentation does to the images; None: nothing."""
        if self.augment == Augment():
            return None
        _, height, width = self.split.shape
        return self.augment.placement(height, width, self.seed, decoded.epoch, decoded.indices, self._uniform)

    def _report(self, decoded: Decoded) -> None:
        """Stop at an image that could not be read, or have it noted."""
        if isinstance(self.split, Stream):
            for failure in decoded.failures:
                self.split.leave_out(failure)
        if decoded.missing and isinstance(self.order, TrainingOrder):
            raise SettingError(
                f"data.on_error=skip: {ATTEMPTS + 1} images in a row could not be read, the last "
                f"{decoded.failures[-1].name}; must be used where but a few are broken"
            )


def _as_it_is(decoded: Any) -> Any:
    return decoded
