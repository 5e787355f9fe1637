"""What Lightning's strategies of several processes are told beside what they are by default."""

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy, ParallelStrategy

from distill.training.batchnorm import SyncNorms


def tell_processes(trainer: pl.Trainer, *, sync_batchnorm: bool) -> pl.Trainer:
    """The trainer, whose processes send each other no more than they have to.

    Data-parallel training sends the first process's buffers to all others in each step by default. Here they are the
    same in all of them anyway (a memory bank, margins), or each process's own until the epoch ends (the statistics of
    BatchNorm, which are averaged then), or, with `sync_batchnorm`, measured over all processes.
    """
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy):
        strategy._ddp_kwargs.setdefault("broadcast_buffers", False)
    if isinstance(strategy, ParallelStrategy) and sync_batchnorm:
        strategy._layer_sync = SyncNorms(strategy.root_device)
    return trainer
