"""A split that lives in memory, on the training device, and is augmented there."""

import torch
from torch import Tensor

from distill.data.augment import Augment
from distill.data.order import Draw
from distill.data.source import Split
from distill.types import Batch


class MemoryDataset(torch.utils.data.Dataset[Batch]):
    """Whole batches at once, by `Draw`.

    Args:
        split: the images; moved to `device` once.
        augment: what to do to them; None for validation.
        seed: of the augmentation.
        device: where batches come into being.
    """

    def __init__(self, split: Split, augment: Augment | None, seed: int, device: torch.device) -> None:
        self.images = split.images.to(device)
        self.targets = split.targets.to(device)
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.targets)

    def __getitems__(self, draw: Draw) -> Batch:
        """The batch that a draw names: float images in [0, 1]."""
        indices = draw.indices.to(self.images.device, non_blocking=True)
        images: Tensor = self.images[indices]
        if self.augment is not None:
            images = self.augment(images, self.seed, draw.epoch, indices)
        return Batch(images.float() / 255, self.targets[indices], indices)
