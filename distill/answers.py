"""What a network answers for the whole validation split."""

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.data import ImageDataModule, ImageSource
from distill.models.network import Network
from distill.types import Batch, Outputs


@dataclass(frozen=True, slots=True)
class Answers:
    """Of one network, on the processor, in the split's order.

    logits: (N, C) float32. targets, indices: (N,) int64; images that could not be read are left out.
    """

    logits: Tensor
    targets: Tensor
    indices: Tensor


@torch.no_grad()
def answer(network: Network, source: ImageSource, batch_size: int, device: torch.device) -> Answers:
    """Ask a network, in evaluation mode and its own precision, on a device."""
    network = network.to(device).eval()
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for loaded in ImageDataModule(source, batch_size=batch_size).val_dataloader():
        batch = Batch(*loaded)
        outputs: Outputs = network(batch.images.to(device))
        indices = torch.arange(len(batch.targets)) if batch.indices is None else batch.indices
        parts.append((outputs.logits.float().cpu(), batch.targets.cpu(), indices.cpu()))
    return Answers(*(torch.cat(column) for column in zip(*parts, strict=True)))
