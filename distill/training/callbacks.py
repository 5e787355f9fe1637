"""Callbacks of a stage: progress, throughput, elapsed time."""

import math
import statistics
import sys
import time
from itertools import pairwise
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from distill.tasks.base import Metric
from distill.training.clock import Moment, moment, seconds_between

WARMUP_STEPS = 5


class Throughput(pl.Callback):
    """Training images per second over all processes: the median over steps after the first few.

    A step is timed from the end of the one before it within an epoch, so that waiting for data counts and validation
    does not; a GPU's by its own clock, which is looked at when the epoch is over.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._images = 0
        self._ends: list[Moment] = []

    @property
    def images_per_second(self) -> float | None:
        """None before a step has been timed."""
        steps = self.seconds[WARMUP_STEPS:] or self.seconds
        return self._images / statistics.median(steps) if steps else None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The first step of an epoch has no step before it."""
        self._ends.clear()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Time the step."""
        self._ends.append(moment(trainer.strategy.root_device))
        if len(self._ends) > 1:
            self._images = len(batch) * trainer.world_size

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the rate so far."""
        self.seconds += [seconds_between(*both) for both in pairwise(self._ends)]
        if self.images_per_second is not None:
            pl_module.log("train/images_per_second", self.images_per_second, sync_dist=trainer.world_size > 1)


class Elapsed(pl.Callback):
    """Seconds since it was made, and in earlier attempts up to the checkpoint that this one goes on from."""

    def __init__(self) -> None:
        self.earlier = 0.0
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Of all attempts."""
        return self.earlier + time.perf_counter() - self._start

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.earlier = state_dict["seconds"]


class StageProgress(pl.Callback):
    """One bar a stage on a terminal; a plain line every tenth of a stage elsewhere.

    Args:
        stage: its name.
        metric: what is shown of the validation.
        bars: True for bars, False for lines.
        noun: what samples are called.
    """

    def __init__(self, stage: str, metric: Metric, *, bars: bool, noun: str = "images") -> None:
        self.stage = stage
        self.metric = metric
        self.bars = bars
        self.noun = noun
        self._progress: Progress | None = None
        self._task: Any = None
        self._shown = 0.0
        self._every = 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        epochs = trainer.max_epochs or 1
        self._every = math.ceil(epochs / 10)
        if not (self.bars and trainer.is_global_zero):
            return
        self._progress = Progress(
            TextColumn("[bold]{task.description:<9}"),
            BarColumn(bar_width=14),
            TextColumn("epoch"),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=Console(file=sys.stdout),
        )
        self._task = self._progress.add_task(self.stage, total=epochs, completed=trainer.current_epoch, note="")
        self._progress.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar by steps within an epoch, at most ten times a second."""
        if self._progress is not None and time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            done = trainer.current_epoch + (batch_idx + 1) / max(1, int(trainer.num_training_batches))
            self._progress.update(self._task, completed=round(done, 1))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the epoch's figures."""
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 1
        note = self._figures(trainer.callback_metrics)
        if self._progress is not None:
            self._progress.update(self._task, completed=epoch, note=note)
        elif trainer.is_global_zero and (epoch % self._every == 0 or epoch == epochs):
            print(f"{self.stage:<9} epoch {epoch:>3}/{epochs}  {note}", flush=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the finished bar standing."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self.on_train_end(trainer, pl_module)

    def _figures(self, metrics: dict[str, Tensor]) -> str:
        own = self.metric
        shown = [(own.logged, f"{own.words} {{{own.form}}}"), ("val/agreement", "agreement {:.1%}")]
        if self._progress is None:  # where there is room
            shown.append(("train/images_per_second", f"{{:,.0f}} {self.noun}/s"))
        return "  ".join(form.format(float(metrics[name])) for name, form in shown if name in metrics)
