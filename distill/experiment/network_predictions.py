"""A network's predictions for a whole split."""

import sys
from dataclasses import dataclass, replace

import torch
from pytorch_lightning.plugins.precision import Precision
from rich.console import Console
from rich.progress import track
from torch import Tensor

from distill.data import ImageDataModule, ImageSource
from distill.models.network import Network
from distill.types import Outputs


@dataclass(frozen=True, slots=True)
class Predictions:
    """Of one network, on the CPU, in the split's order.

    logits: (N, C) float32. targets, indices: (N,) int64; images that could not be read are left out.
    """

    logits: Tensor
    targets: Tensor
    indices: Tensor


def test_split(source: ImageSource) -> ImageSource | None:
    """The source with its test split in the place of the validation split; None where it has none."""
    return None if source.test is None else replace(source, val=source.test, test=None)


@torch.no_grad()
def predict_split(
    network: Network, source: ImageSource, batch_size: int, device: torch.device, precision: Precision | None = None
) -> Predictions:
    """Ask a network for the validation split, in evaluation mode, on a device; with a bar on a terminal.

    precision: Lightning's plugin of what to compute in; None for the network's own.
    """
    precision = precision or Precision()
    network = precision.convert_module(network).to(device).eval()  # type: ignore[assignment]
    parts = [(torch.empty(0, source.num_classes), torch.empty(0).long(), torch.empty(0).long())]
    batches = ImageDataModule(source, batch_size=batch_size).val_dataloader()
    screen, shown = Console(file=sys.stderr), sys.stderr.isatty()
    for batch in track(batches, network.name, len(batches), console=screen, transient=True, disable=not shown):
        with precision.forward_context():
            outputs: Outputs = network(precision.convert_input(batch.to(device).inputs))
        assert batch.indices is not None
        parts.append((outputs.logits.float().cpu(), batch.targets.cpu(), batch.indices))
    return Predictions(*(torch.cat(column) for column in zip(*parts, strict=True)))
