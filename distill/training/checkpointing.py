"""Checkpoints within epochs, and the end of a run that was asked to stop."""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from distill.signals import asked_to_stop, finish_steps_first, stop_as_asked, take_back_signals


class StepCheckpoint(Checkpoint):
    """Writes what a stage goes on from after a step of the optimizer within an epoch; the last step of an epoch is left
    to the checkpoint of the epoch.

    A signal that came meanwhile ends the run when a checkpoint has been written: after the step, or after the epoch.

    Args:
        file: what is written, over what was there.
        every_steps: of the optimizer; None: not by steps.
        every_minutes: None: not by the time.
    """

    def __init__(self, file: Path, every_steps: int | None = None, every_minutes: float | None = None) -> None:
        self.file, self.every_steps, self.every_minutes = file, every_steps, every_minutes
        self._step = 0
        self._written = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Steps and minutes count from here; Lightning's own handlers of signals are there by now."""
        self._step, self._written = trainer.global_step, time.monotonic()
        finish_steps_first()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The epoch before has been logged, and its checkpoint written."""
        if number := _asked(trainer):
            stop_as_asked(number)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As after any other epoch."""
        take_back_signals()
        if number := _asked(trainer):
            stop_as_asked(number)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """There is no step to finish any more."""
        take_back_signals()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write it, if a step was taken and it is time."""
        if trainer.global_step == self._step:
            return  # gradients are accumulated
        self._step = trainer.global_step
        if trainer.is_last_batch:
            return
        number = _asked(trainer)
        if number or self._due(trainer):
            trainer.save_checkpoint(self.file)
            self._written = time.monotonic()
        if number:
            stop_as_asked(number)

    def _due(self, trainer: pl.Trainer) -> bool:
        """Whether it is time; all processes agree."""
        by_steps = self.every_steps is not None and self._step % self.every_steps == 0
        if self.every_minutes is None:
            return by_steps
        late = time.monotonic() - self._written >= 60 * self.every_minutes
        return by_steps or bool(trainer.strategy.broadcast(late))


def _asked(trainer: pl.Trainer) -> int:
    """The signal that one of the processes was sent, the same in all of them, which have to ask at once; 0 for none."""
    number = asked_to_stop()
    if trainer.world_size == 1:
        return number
    asked = torch.tensor(float(number), device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(asked, reduce_op="max"))
