"""Whole steps of the optimizer and a batch of the validation, by the run's trainer: what fails there fails here."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import pytorch_lightning as pl
import torch

from distill.config import build
from distill.config.nodes import Node
from distill.config.settings import TrainerSettings
from distill.teachers import Teacher
from distill.training.clock import Moment, moment, seconds_between
from distill.training.module import DistillModule
from distill.types import Batch, Outputs

ACCUMULATED = 2  # batches in a step, where the run takes so many or more

# Of a trainer, what says how long it trains and what it looks at: two steps and one batch here.
SHORT: dict[str, Any] = {
    "max_epochs": 1,
    "max_steps": -1,
    "max_time": None,
    "fast_dev_run": False,
    "overfit_batches": 0.0,
    "limit_train_batches": 1.0,
    "limit_val_batches": 1.0,
    "check_val_every_n_epoch": 1,
    "val_check_interval": 1.0,
    "num_nodes": 1,
    "strategy": "auto",
    "logger": False,
    "enable_checkpointing": False,
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things took, in seconds, and what was not finite.

    batch: the forward and backward pass of one training batch, and its share of the optimizer's step.
    validation: one batch of the validation.
    logged: names of the values that an epoch logs; empty where it came to none.
    """

    batch: float
    validation: float
    logged: frozenset[str]
    trouble: str | None = None


def rehearse(
    module: DistillModule,
    batch: Batch,
    validation: Batch,
    config: Node[TrainerSettings],
    device: torch.device,
    steps: int = 2,
) -> Pace:
    """Train and validate as the run does: precision, loss scale, clipping, accumulation, optimizer and schedule.

    Weights move, and a teacher that follows the student does; nothing is written, and no kept answers are looked up.

    Args:
        module: of a stage, on networks of its own.
        batch: shown again and again.
        validation: a batch of the validation split.
        config: of the run's trainer.
        device: where to.
        steps: of the optimizer, 2 or more; the first one warms up, and of the others the fastest counts.
    """
    if module.teacher is not None:
        object.__setattr__(module, "teacher", _Uncached(module.teacher))  # past registration, as the module does
    clock = _Clock(device)
    accumulated = min(config.own.accumulate_grad_batches, ACCUMULATED)
    trainer = build.trainer(
        config,
        **SHORT,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        accumulate_grad_batches=accumulated,
        callbacks=[clock],
    )
    trouble, logged = None, set()
    try:
        trainer.fit(module, _Repeated(batch, steps * accumulated), _Repeated(validation, 1))
        logged = set(trainer.callback_metrics)
    except FloatingPointError as error:
        trouble = str(error)
    return Pace(
        clock.seconds(clock.trained, accumulated), clock.seconds(clock.validated, 1), frozenset(logged), trouble
    )


class _Repeated(Iterable[Batch]):
    """A batch, so many times, as a loader."""

    def __init__(self, batch: Batch, count: int) -> None:
        self.batch, self.count = batch, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Batch]:
        return repeat(self.batch, self.count)


class _Uncached(Teacher):
    """A teacher whose batches belong to neither split, so that it neither reads nor keeps answers."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__(teacher.network)
        self.teacher = teacher

    def predict(self, batch: Batch) -> Outputs:
        """The teacher's."""
        return self.teacher.predict(replace(batch, split=None))

    def step(self, done: int) -> None:
        """The teacher's."""
        self.teacher.step(done)


class _Clock(pl.Callback):
    """When each batch was done, in training and in the validation after it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.trained: list[Moment] = []
        self.validated: list[Moment] = []

    def seconds(self, moments: list[Moment], batches: int) -> float:
        """Of a batch, the mean of so many in a row, the fastest ones; 0 where fewer were done."""
        spans = zip(moments[:-batches], moments[batches:], strict=True)
        return min((seconds_between(*span) / batches for span in spans), default=0.0)

    def on_train_batch_end(self, *_: Any) -> None:
        """A batch is done, and after as many as are accumulated a step."""
        self.trained.append(moment(self.device))

    def on_validation_batch_start(self, *_: Any) -> None:
        """The validation begins."""
        self.validated.append(moment(self.device))

    def on_validation_batch_end(self, *_: Any) -> None:
        """The validation is over."""
        self.validated.append(moment(self.device))
