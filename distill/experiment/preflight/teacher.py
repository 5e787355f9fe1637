"""Is the teacher better than chance, shown this data through this pipeline?"""

import torch
from torch import Tensor

from distill.data import DataModule
from distill.data.order import Draw
from distill.losses.logits import precise
from distill.models.network import Network
from distill.tasks.evaluation import Standing
from distill.types import Batch, Outputs

SAMPLE = 512  # validation images, evenly spaced
AT_ONCE = 128
KEPT = 2**24  # logits that are given back


@torch.no_grad()
def score_sample(network: Network, data: DataModule, device: torch.device) -> tuple[Standing, Tensor]:
    """Score a network on validation images as validation itself would show them; it ends in evaluation mode.

    Returns:
        The score, and the logits, (count, classes, *positions), that it was made from; of maps those of the first.
    """
    network = network.to(device).eval()
    source, targets = data.source, data.source.val.targets
    evaluation = source.task.evaluation(source.num_classes)
    sample = torch.linspace(0, len(targets) - 1, SAMPLE).long().unique()
    loader = data.val_dataloader()
    logits: list[Tensor] = []
    for indices in sample.split(min(AT_ONCE, loader.order.batch_size)):
        batch: Batch = loader.__getitems__(Draw(0, indices))
        outputs: Outputs = network(batch.to(device).inputs)
        answers = precise(outputs.answers()).cpu()
        evaluation.update(answers.float(), batch.targets.cpu(), None)
        if not logits or sum(part.numel() for part in logits) + answers.numel() <= KEPT:
            logits.append(answers)
    return evaluation.standing(source.task.chance(targets)), torch.cat(logits)


def mass_kept(logits: Tensor, k: int, temperature: float) -> float:
    """The probability of the k likeliest classes of (N, C) logits at a temperature, the mean over samples."""
    return float((logits / temperature).softmax(1).topk(k, dim=1).values.sum(1).mean())
