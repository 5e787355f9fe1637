"""A teacher's inputs: all that determines the samples of a run, except their order."""

import numpy as np
import torch
from torch import Tensor

from distill.data.augment import Augment
from distill.data.batches import Batches
from distill.data.order import ListedOrder
from distill.data.source import ImageSource, Source
from distill.teachers.array_file import Numbers
from distill.types import Batch, SplitName


class TeacherInputs:
    """Samples by (split, epoch, index). No dataclass: Hydra would take one for a configuration.

    Args:
        source: the data.
        samples: (S,) int64, the training samples that the student may see.
        augment, seed: what is done to training images, and the seed of that alone.
        epochs: how long the student trains.
        replay: after so many epochs images look again as in the first; None: never.
        batch_size: of a training step.
        precision: as the trainer's; it is part of what a network answers.
        workers: processes that decode images from files, where many are asked for.
    """

    def __init__(
        self,
        source: Source,
        samples: Tensor,
        augment: Augment | None = None,
        seed: int = 0,
        epochs: int = 1,
        replay: int | None = None,
        batch_size: int = 64,
        precision: str = "32-true",
        workers: int = 0,
    ) -> None:
        self.source, self.samples, self.augment, self.seed = source, samples, augment or Augment(), seed
        self.epochs, self.replay, self.batch_size = epochs, replay, batch_size
        self.precision, self.workers = precision, workers

    @property
    def augmented(self) -> bool:
        """Whether images change from epoch to epoch."""
        return self.augment != Augment()

    @property
    def distinct_epochs(self) -> int:
        """How many epochs differ in their images."""
        return min(self.epochs, self.replay or self.epochs) if self.augmented else 1

    def shown(self, epoch: int) -> int:
        """The first epoch with the same images."""
        if not self.augmented:
            return 0
        return epoch % self.replay if self.replay else epoch

    @property
    def sizes(self) -> dict[str, int]:
        """Samples in each split, of which the student may see fewer."""
        return {"train": len(self.source.train), "val": len(self.source.val)}

    def wanted(self, split: SplitName) -> Numbers:
        """Indices of the samples of a split that the run may show."""
        samples: Numbers = self.samples.numpy() if split == "train" else np.arange(self.sizes["val"])
        return samples

    def positions(self, split: SplitName) -> tuple[int, ...] | None:
        """Of an answer, as large as the images of a split are shown, or of the longest text of a language model; ()
        where a sample has one answer; None where an answer alone tells."""
        if not isinstance(self.source, ImageSource):
            return self.source.positions
        _, *size = self.source.train.shape
        return self.source.task.positions(*(self.augment.size(*size) if split == "train" else size))

    def first(self, split: SplitName, device: torch.device) -> Batch:
        """A sample of a split, to see what is answered."""
        indices = self.samples[:1] if split == "train" else torch.zeros(1, dtype=torch.long)
        return next(iter(self.batches(split, 0, indices, device)))

    def batches(self, split: SplitName, epoch: int, indices: Tensor, device: torch.device, workers: int = 0) -> Batches:
        """Given samples as the epoch shows them; `epoch` counts for the training split alone."""
        return self.source.batches(
            split,
            ListedOrder(indices, self.batch_size, epoch),
            augment=self.augment if split == "train" else None,
            seed=self.seed,
            device=device,
            workers=workers,
            pool=self.samples,
        )
