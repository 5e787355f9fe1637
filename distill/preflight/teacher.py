"""Is the teacher better than chance, shown this data through this pipeline?"""

from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor

from distill.data import ImageDataModule
from distill.data.order import Draw
from distill.losses.logits import precise
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
def score_sample(network: Network, data: ImageDataModule, device: torch.device) -> tuple[SampleScore, Tensor]:
    """Score a network on validation images as validation itself would show them; it ends in evaluation mode.

    Returns:
        The score, and the logits, (count, classes), that it was made from.
    """
    network = network.to(device).eval()
    targets = data.source.val.targets
    sample = torch.linspace(0, len(targets) - 1, SAMPLE).long().unique()
    loader = data.val_dataloader()
    right, logits = 0, []
    for indices in sample.split(AT_ONCE):
        batch: Batch = loader.__getitems__(Draw(0, indices))
        outputs: Outputs = network(batch.images.to(device))
        logits.append(precise(outputs.logits).cpu())
        right += int((logits[-1].argmax(1) == batch.targets.cpu()).sum())
    answers = torch.cat(logits)
    return SampleScore(right, max(len(answers), 1), float(targets.bincount().max() / len(targets))), answers


def mass_kept(logits: Tensor, k: int, temperature: float) -> float:
    """The probability of the k likeliest classes of (N, C) logits at a temperature, the mean over samples."""
    return float((logits / temperature).softmax(1).topk(k, dim=1).values.sum(1).mean())
