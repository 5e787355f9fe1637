"""Checkpoints within epochs."""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint


class StepCheckpoint(Checkpoint):
    """Writes what a stage goes on from after a step of the optimizer within an epoch; the last step of an epoch is left
    to the checkpoint of the epoch.

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
        """Steps and minutes count from here."""
        self._step, self._written = trainer.global_step, time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write it, if a step was taken and it is time."""
        if trainer.global_step == self._step:
            return  # gradients are accumulated
        self._step = trainer.global_step
        if not trainer.is_last_batch and self._due(trainer):
            trainer.save_checkpoint(self.file)
            self._written = time.monotonic()

    def _due(self, trainer: pl.Trainer) -> bool:
        """Whether it is time; all processes agree."""
        by_steps = self.every_steps is not None and self._step % self.every_steps == 0
        if self.every_minutes is None:
            return by_steps
        late = time.monotonic() - self._written >= 60 * self.every_minutes
        return by_steps or bool(trainer.strategy.broadcast(late))
