"""Figures of all processes of a training."""

from typing import TypeVar

import pytorch_lightning as pl
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def of_all_processes(value: T) -> list[T]:
    """The value of each process, by rank, in all of them, which have to ask at once; one value where there is one."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def sum_over_processes(module: pl.LightningModule, values: Tensor) -> Tensor:
    """The sum of a tensor over all processes of the module's trainer, on the CPU; in one process, the tensor."""
    if module._trainer is None or module.trainer.world_size == 1:
        return values
    added: Tensor = module.trainer.strategy.reduce(values.to(module.device), reduce_op="sum")
    return added.cpu()
