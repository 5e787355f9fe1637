"""Is the teacher better than chance, shown this data through this pipeline?"""

import torch
from torch import Tensor

from distill.data import DataModule
from distill.data.order import Draw
from distill.losses.logits import precise
from distill.models.network import Network
from distill.tasks.evaluation import Standing
from distill.types import Batch, Outputs

SAMPLE = 512  # validation samples, evenly spaced
POSITIONS, FEWEST = 4096, 16  # of samples with many positions each, so many positions, but at least so many samples
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
    places = source.task.valid(targets[:1])
    count = SAMPLE if places is None else max(FEWEST, POSITIONS // places.numel())
    sample = torch.linspace(0, len(targets) - 1, count).long().unique()
    loader = data.val_dataloader()
    logits: list[Tensor] = []
    for indices in sample.split(min(AT_ONCE, loader.order.batch_size)):
        batch: Batch = loader.__getitems__(Draw(0, indices))
        outputs: Outputs = network(batch.to(device).inputs)
        evaluation.update(outputs.answers().float().cpu(), batch.targets.cpu(), None)
        few = precise(outputs.answers() if outputs.projection is None else outputs.few()).cpu()
        if not logits or sum(part.numel() for part in logits) + few.numel() <= KEPT:
            logits.append(few)
    return evaluation.standing(source.task.chance(targets)).of(source.noun), torch.cat(logits)


def mass_kept(logits: Tensor, k: int, temperature: float) -> float:
    """The probability of the k likeliest classes of (N, C) logits at a temperature, the mean over samples."""
    return float((logits / temperature).softmax(1).topk(k, dim=1).values.sum(1).mean())
