"""Batches for every stage of a run, on whatever device and in however many processes it happens."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from distill.data.augment import Augment
from distill.data.memory import MemoryDataset
from distill.data.order import EvaluationOrder, TrainingOrder
from distill.data.source import ImageSource, Split
from distill.seeding import derive_seed
from distill.types import Batch


class ImageDataModule(pl.LightningDataModule):
    """Batches of an `ImageSource`.

    Args:
        source: the images.
        batch_size: samples per step and process.
        augment: what to do to training images.
        seed: of order, augmentation and the student's share.
        samples: (S,) indices of the training samples to use; None for all.
    """

    def __init__(
        self,
        source: ImageSource,
        *,
        batch_size: int = 64,
        augment: Augment | None = None,
        seed: int = 0,
        samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: must be 1 or more")
        self.source = source
        self.batch_size = batch_size
        self.augment = augment
        self.seed = seed
        self.samples = torch.arange(len(source.train)) if samples is None else samples

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled, augmented batches of this process."""
        order = TrainingOrder(self.samples, self.batch_size, self.seed, *self._process())
        return self._loader(self.source.train, self.augment, order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation split in order, unaugmented, shared out over the processes."""
        return self._loader(
            self.source.val, None, EvaluationOrder(len(self.source.val), 4 * self.batch_size, *self._process())
        )

    def example(self, count: int = 2) -> Tensor:
        """The first training images, as a network sees them: (count, C, H, W) float in [0, 1]."""
        return self.source.train.images[:count].float() / 255

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches come into being on the device."""
        return batch

    def _loader(self, split: Split, augment: Augment | None, order: Any) -> DataLoader[Batch]:
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        dataset = MemoryDataset(split, augment, self.seed, device)
        return DataLoader(dataset, batch_sampler=order, collate_fn=_as_it_is)

    def _process(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


def student_samples(targets: Tensor, fraction: float, seed: int) -> Tensor:
    """Indices of the share of the training samples that the student may see: the same share of every class.

    Args:
        targets: (N,) int64 labels.
        fraction: above 0, at most 1.
        seed: which samples.

    Returns:
        (S,) int64, increasing; at least one of each class that occurs.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"student_fraction={fraction}: must be above 0 and at most 1")
    if fraction == 1:
        return torch.arange(len(targets))
    generator = torch.Generator().manual_seed(derive_seed(seed, "student_fraction"))
    kept = []
    for label in targets.unique():
        members = (targets == label).nonzero().flatten()
        count = max(1, round(fraction * len(members)))
        kept.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(kept).sort().values


def _as_it_is(batch: Sequence[Any]) -> Any:
    return batch
