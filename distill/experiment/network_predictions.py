"""What the networks of a run predict for a whole split, batch by batch."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from pytorch_lightning.plugins.precision import Precision
from rich.console import Console
from rich.progress import track
from torch import Tensor

from distill.data import DataModule, Source
from distill.models.network import Network
from distill.types import Outputs

Change = Callable[[Tensor, Tensor], Tensor]
"""Of images and their indices, both (n, ...), to what networks are shown in their place."""


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
    change: Change | None = None,
) -> Iterator[Predictions]:
    """Ask networks for the validation split, in evaluation mode, on a device; with a bar on a terminal.

    precision: Lightning's plugin of what to compute in; None for the networks' own.
    change: what is done to images before the networks see them.
    """
    precision = precision or Precision()
    converted = {name: precision.convert_module(network).to(device).eval() for name, network in networks.items()}
    batches = DataModule(source, batch_size=batch_size).val_dataloader()
    screen, hidden = Console(file=sys.stderr), not sys.stderr.isatty()
    for batch in track(batches, source.name, len(batches), console=screen, transient=True, disable=hidden):
        assert batch.indices is not None
        inputs, logits = batch.to(device).inputs, {}
        if change is not None:
            assert isinstance(inputs, Tensor)
            inputs = change(inputs, batch.indices.to(device))
        inputs = precision.convert_input(inputs)
        for name, network in converted.items():
            with precision.forward_context():
                outputs: Outputs = network(inputs)
            logits[name] = outputs.answers().float().cpu()
        yield Predictions(logits, batch.targets.cpu(), batch.indices)
