"""Is the teacher better than chance, shown this data through this pipeline?"""

from dataclasses import dataclass

import torch
from scipy.stats import binomtest

from distill.data import ImageDataModule
from distill.data.order import Draw
from distill.models.network import Network
from distill.types import Batch, Outputs

SAMPLE = 512  # validation images, evenly spaced
AT_ONCE = 128
DOUBT = 1e-3  # a guesser does as well as this with a probability above it: not better by a clear margin


@dataclass(frozen=True, slots=True)
class SampleScore:
    """How a network did on a sample of the validation split.

    right, count: images named right, of how many.
    chance: share that naming the most frequent class always would get right.
    """

    right: int
    count: int
    chance: float

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return self.right / self.count

    @property
    def convincing(self) -> bool:
        """Whether guessing is out of the question, by the exact binomial test."""
        return bool(binomtest(self.right, self.count, self.chance, alternative="greater").pvalue < DOUBT)


@torch.no_grad()
def score_sample(network: Network, data: ImageDataModule, device: torch.device) -> SampleScore:
    """Score a network on validation images as validation itself would show them; it ends in evaluation mode."""
    network = network.to(device).eval()
    targets = data.source.val.targets
    sample = torch.linspace(0, len(targets) - 1, SAMPLE).long().unique()
    loader = data.val_dataloader()
    right = count = 0
    for indices in sample.split(AT_ONCE):
        batch: Batch = loader.__getitems__(Draw(0, indices))
        outputs: Outputs = network(batch.images.to(device))
        right += int((outputs.logits.argmax(1).cpu() == batch.targets.cpu()).sum())
        count += len(batch.images)
    return SampleScore(right, max(count, 1), float(targets.bincount().max() / len(targets)))
