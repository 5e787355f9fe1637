"""What the networks of a run predict for a whole split, batch by batch."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from pytorch_lightning.plugins.precision import Precision
from rich.console import Console
from rich.progress import track
from torch import Tensor

from distill.data import DataModule, Source
from distill.models.network import Network
from distill.types import Outputs


@dataclass(frozen=True, slots=True)
class Predictions:
    """Of all networks for one batch, on the CPU.

    logits: float32, by network; of networks that answer with something else, that. targets: as the task has them.
    indices: (n,) int64 places in the split, in its order; images that could not be read are left out.
    """

    logits: dict[str, Tensor]
    targets: Tensor
    indices: Tensor


def test_split(source: Source) -> Source | None:
    """The source with its test split in the place of the validation split; None where it has none."""
    return None if source.test is None else replace(source, val=source.test, test=None)


@torch.no_grad()
def predict_split(
    networks: Mapping[str, Network],
    source: Source,
    batch_size: int,
    device: torch.device,
    precision: Precision | None = None,
) -> Iterator[Predictions]:
    """Ask networks for the validation split, in evaluation mode, on a device; with a bar on a terminal.

    precision: Lightning's plugin of what to compute in; None for the networks' own.
    """
    precision = precision or Precision()
    converted = {name: precision.convert_module(network).to(device).eval() for name, network in networks.items()}
    batches = DataModule(source, batch_size=batch_size).val_dataloader()
    screen, shown = Console(file=sys.stderr), sys.stderr.isatty()
    for batch in track(batches, source.name, len(batches), console=screen, transient=True, disable=not shown):
        inputs, logits = precision.convert_input(batch.to(device).inputs), {}
        for name, network in converted.items():
            with precision.forward_context():
                outputs: Outputs = network(inputs)
            logits[name] = outputs.answers().float().cpu()
        assert batch.indices is not None
        yield Predictions(logits, batch.targets.cpu(), batch.indices)
