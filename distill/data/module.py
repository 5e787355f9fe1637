"""Batches for every stage of a run, on whatever device and in however many processes it happens."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from distill.data.augment import Augment
from distill.data.batches import Batches, Order, SequenceBatches
from distill.data.order import EvaluationOrder, Sampling, TrainingOrder, share_of_each_class
from distill.data.source import Source
from distill.data.stream import Stream
from distill.errors import SettingError
from distill.inputs import Inputs
from distill.seeding import derive_seed
from distill.types import SplitName

log = logging.getLogger(__name__)

MOST_WORKERS = 8


class DataModule(pl.LightningDataModule):
    """Batches of a source.

    Args:
        source: the data.
        batch_size: samples per step and process.
        augment: what to do to training images.
        seed: of the order, and of augmentation.
        augment_seed: of augmentation alone, where it is not to be that of the order.
        replay: after so many epochs, samples look again as they did in the first; None: never.
        samples: (S,) indices of the training samples to use; None for all.
        sampling: "shuffled" shows each sample once an epoch; "balanced" every class equally often.
        workers: processes that decode images which stream from files, for each training process; 0 for none, None for
            as many as there are cores, at most 8. Images in memory need none.

    Raises:
        ValueError: a setting out of its range.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int = 64,
        augment: Augment | None = None,
        seed: int = 0,
        augment_seed: int | None = None,
        replay: int | None = None,
        samples: Tensor | None = None,
        sampling: Sampling = "shuffled",
        workers: int | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: must be 1 or more")
        if workers is not None and workers < 0:
            raise ValueError(f"workers={workers}: must be 0 or more, or null for as many as there are cores")
        self.source = source
        self.batch_size = batch_size
        self.augment = augment
        self.seed = seed
        self.augment_seed = seed if augment_seed is None else augment_seed
        self.replay = replay
        self.samples = torch.arange(len(source.train)) if samples is None else samples
        self.sampling = sampling
        self.workers = workers
        self._position: dict[str, int] | None = None  # in an epoch, from a checkpoint

    def train_dataloader(self) -> Batches:
        """Shuffled, augmented batches of this process."""
        balanced = self.sampling == "balanced"
        classes = self.source.task.balanced(self.source.train.targets[self.samples]) if balanced else None
        lengths = self.source.train.lengths
        lengths = None if lengths is None else lengths[self.samples]
        order = TrainingOrder(self.samples, self.batch_size, self.seed, *self._process(), self.replay, classes, lengths)
        batches = self._batches("train", order, self.augment)
        if isinstance(batches, SequenceBatches) and self.trainer is not None and self._process()[1] == 1:
            batches.accumulated = int(self.trainer.accumulate_grad_batches)
        if self._position is not None:
            batches.load_state_dict(self._position)
            self._position = None
        return batches

    def val_dataloader(self) -> Batches:
        """The validation split in order, unaugmented, shared out over the processes."""
        order = EvaluationOrder(len(self.source.val), 4 * self.batch_size, *self._process())
        return self._batches("val", order, None)

    def shown(self) -> Tensor:
        """(C,) float: the share of the training samples that have each class, as an epoch shows them.

        Raises:
            SettingError: classes are to be balanced, and cannot be.
        """
        source = self.source
        balanced = self.sampling == "balanced"
        labelled = self.samples[self.samples < len(source.train) - source.unlabeled]
        return source.task.shown(source.train.targets[labelled], source.num_classes, balanced=balanced)

    def example(self, count: int = 2) -> Inputs:
        """The first training samples, unaugmented, as a network takes them."""
        return self.source.train.inputs(torch.arange(min(count, len(self.source.train))))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches come into being on the device."""
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where training is in its epoch, for a checkpoint."""
        batches = self.trainer.train_dataloader if self.trainer is not None else None
        if not isinstance(batches, Batches):
            return {}
        assert self.trainer is not None
        return {"position": None if self.trainer.is_last_batch else batches.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The next training batches begin there. Lightning asks for them before it would tell them by itself."""
        self._position = state_dict["position"]

    def teardown(self, stage: str) -> None:
        """Say how many images were left out."""
        splits = (self.source.train, self.source.val)
        names = [name for split in splits if isinstance(split, Stream) for name in split.unreadable]
        if names:
            log.warning("%d images could not be read and were left out, e.g. %s", len(names), ", ".join(names[:3]))

    def _batches(self, split: SplitName, order: Order, augment: Augment | None) -> Batches:
        return self.source.batches(
            split,
            order,
            augment=augment,
            seed=self.augment_seed,
            device=self.trainer.strategy.root_device if self.trainer is not None else None,
            workers=self._workers(),
        )

    def _process(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _workers(self) -> int:
        if self.workers is not None:
            return self.workers
        neighbours = 1 if self.trainer is None else self.trainer.num_devices
        return max(1, min(MOST_WORKERS, cores() // neighbours))


def cores() -> int:
    """Cores that this process may use, which in a container are fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def student_samples(strata: Tensor, fraction: float, seed: int) -> Tensor:
    """Indices of the share of the training samples that the student may see: the same share of every class.

    Args:
        strata: (N,) int64 classes, or what else each sample is one of.
        fraction: above 0, at most 1.
        seed: which samples.

    Returns:
        (S,) int64, increasing; at least one of each class that occurs.

    Raises:
        ValueError: a fraction out of its range.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"student_fraction={fraction}: must be above 0 and at most 1")
    if fraction == 1:
        return torch.arange(len(strata))
    return share_of_each_class(strata, fraction, derive_seed(seed, "student_fraction"))


def without_classes(samples: Tensor, targets: Tensor, excluded: Sequence[int]) -> Tensor:
    """Those of the samples that are of no excluded class.

    Args:
        samples: (S,) int64 indices.
        targets: (N,) int64 classes of all samples.
        excluded: numbers of classes.

    Raises:
        SettingError: fewer than two classes are left.
    """
    kept = samples[~torch.isin(targets[samples], torch.tensor(list(excluded), dtype=torch.long))]
    if len(targets[kept].unique()) < 2:
        raise SettingError(
            f"data.student_without={list(excluded)}: leaves the student images of fewer than two classes; name fewer"
        )
    return kept


ImageDataModule = DataModule
"""What it was called while images were all that there was."""
