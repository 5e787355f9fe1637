"""Figures of all processes of a training."""

import pytorch_lightning as pl
from torch import Tensor


def sum_over_processes(module: pl.LightningModule, values: Tensor) -> Tensor:
    """The sum of a tensor over all processes of the module's trainer, on the CPU; in one process, the tensor."""
    if module._trainer is None or module.trainer.world_size == 1:
        return values
    added: Tensor = module.trainer.strategy.reduce(values.to(module.device), reduce_op="sum")
    return added.cpu()
