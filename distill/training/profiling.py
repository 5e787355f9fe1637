"""profile=true: where the time of the student's training steps goes, and a trace of a few of them.

Lightning's SimpleProfiler measures whole calls, nested ones twice, and on a GPU only until the work is queued. Here
each moment counts once, for the innermost part, by the device's own clock. The trace is torch.profiler's.
"""

import json
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import Profiler

from distill.files import write_atomically, write_text
from distill.training.clock import Moment, moment, seconds_between
from distill.training.module import DistillModule

PARTS = ("data", "teacher", "student", "method", "backward", "optimizer", "logging", "rest")

# Parts by the last word of the names that Lightning, and the module's training step, give to what they do.
_ACTIONS = {
    "train_dataloader_next": "data",
    "batch_to_device": "data",
    "teacher": "teacher",
    "student": "student",
    "method": "method",
    "backward": "backward",
    "optimizer_step": "optimizer",  # runs the forward and backward pass inside
    "optimizer_zero_grad": "optimizer",
    "lr_scheduler_step": "optimizer",
    "training_step": "rest",  # what is around teacher, student and method: measurements
    "on_train_batch_end": "logging",
}
_BEGIN, _END = "train_dataloader_next", "on_train_batch_end"

WARMUP, MEASURED, TRACED = 5, 100, 5
PROFILE, TRACE = "profile.json", "trace.json"


@dataclass(frozen=True, slots=True)
class Profile:
    """What profile.json holds.

    steps: how many were measured, after the first few. traced: how many are in trace.json.
    milliseconds: mean per step of each of `PARTS`; together they are the step.
    """

    steps: int
    traced: int
    milliseconds: dict[str, float]

    @property
    def total(self) -> float:
        """Milliseconds of a step."""
        return sum(self.milliseconds.values())

    @property
    def shares(self) -> dict[str, float]:
        """Each part's share of the step."""
        return {part: spent / self.total for part, spent in self.milliseconds.items()}


def read_profile(directory: Path) -> Profile | None:
    """The profile in a run's directory, if there is one."""
    file = directory / PROFILE
    return Profile(**json.loads(file.read_text())) if file.is_file() else None


def plan(steps: int, per_epoch: int) -> tuple[int, int, int]:
    """How many of so many steps warm up, are measured and are then traced, in this order; the last within an epoch.

    They are measured first, as a GPU's tracer leaves its traces in what follows.
    """
    warmup, traced = min(WARMUP, steps // 3), min(TRACED, steps // 3, per_epoch)
    measured = min(MEASURED, steps - warmup - traced)
    too_late = (warmup + measured) % per_epoch + traced - per_epoch
    return warmup, measured - max(0, too_late), traced


class Profiling(pl.Callback):
    """Profiles the first process of a fit, and writes profile.json and trace.json.

    It takes the place of `Trainer.profiler`.

    Args:
        directory: where to write.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._spans: Spans | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start, now that the number of steps is known."""
        if not trainer.is_global_zero:
            return
        steps = int(trainer.estimated_stepping_batches) - trainer.global_step
        planned = plan(steps, int(trainer.num_training_batches))
        self._spans = Spans(trainer.strategy.root_device, planned, self.directory / TRACE)
        trainer.profiler = self._spans  # type: ignore[attr-defined]
        if isinstance(pl_module, DistillModule):
            pl_module.span = self._spans.profile

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """No trace goes through a validation, which may be long."""
        if self._spans is not None:
            self._spans.end_trace()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what was measured."""
        if self._spans is None:
            return
        self._spans.end_trace()
        profile = self._spans.found()
        if profile is not None:
            write_text(self.directory / PROFILE, json.dumps(asdict(profile), indent=2) + "\n")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """There is one tracer at a time: leave it to the next run of a sweep."""
        self.on_validation_start(trainer, pl_module)


class Spans(Profiler):
    """Charges each moment of a training step to the innermost part that is at work then.

    A step lasts from when its batch is asked for to when it has been logged. On a GPU, moments are told by its own
    clock, in the order of its work: nothing waits for it, and a part takes as long as it holds up what comes after.
    Not yet run on a GPU.

    Args:
        device: of the student.
        planned: how many steps warm up, are measured, and are traced.
        trace: the file to write.
    """

    def __init__(self, device: torch.device, planned: tuple[int, int, int], trace: Path) -> None:
        super().__init__()
        warmup, measured, traced = planned
        self._measured = range(warmup, warmup + measured)
        self._traced = range(self._measured.stop, self._measured.stop + traced)
        self._device, self._trace = device, trace
        self._step = -1
        self._within = False  # a step that is looked at
        self._open: list[tuple[str, AbstractContextManager[Any]]] = []
        self._laps: list[tuple[str, Moment]] = []  # what was at work until when
        self._steps: list[list[tuple[str, Moment]]] = []
        self._tracer: torch.profiler.profile | None = None
        self._seen = 0

    def start(self, action_name: str) -> None:
        """Called by Lightning, and by the module, when something begins."""
        if action_name.endswith(_BEGIN):
            self._begin_step()
        word, part = action_name.rpartition(".")[2], _part(action_name)
        if not self._within or part is None:
            return
        self._lap()
        mark = nullcontext() if self._tracer is None else torch.profiler.record_function(word)
        mark.__enter__()
        self._open.append((part, mark))

    def stop(self, action_name: str) -> None:
        """Called when it ends."""
        if not self._within or _part(action_name) is None:
            return
        self._lap()
        self._open.pop()[1].__exit__(None, None, None)
        if action_name.endswith(_END):
            self._end_step()

    def _begin_step(self) -> None:
        self._step += 1
        self._within = self._step in self._measured or self._step in self._traced
        self._open, self._laps = [], []
        if self._step == self._traced.start and self._traced:
            os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # or torch's tracer tells the terminal about itself
            self._tracer = torch.profiler.profile()
            self._tracer.start()
        if self._within:
            self._lap()

    def _end_step(self) -> None:
        self._within = False
        if self._step in self._measured:
            self._steps.append(self._laps)
        elif self._step in self._traced:
            self._seen += 1
            if self._step == self._traced[-1]:
                self.end_trace()

    def _lap(self) -> None:
        """Note until when the innermost open part was at work."""
        self._laps.append((self._open[-1][0] if self._open else "rest", moment(self._device)))

    def end_trace(self) -> None:
        """Write what has been traced, if anything is being traced."""
        if self._tracer is None:
            return
        tracer, self._tracer = self._tracer, None
        self._within, self._traced = False, range(0)
        tracer.stop()
        write_atomically(self._trace, lambda temporary: tracer.export_chrome_trace(str(temporary)))

    def found(self) -> Profile | None:
        """The measurements; None if there were no steps."""
        if not self._steps:
            return None
        spent = dict.fromkeys(PARTS, 0.0)
        for laps in self._steps:
            for (_, before), (part, after) in pairwise(laps):
                spent[part] += 1000 * seconds_between(before, after)
        return Profile(len(self._steps), self._seen, {part: total / len(self._steps) for part, total in spent.items()})


def _part(action: str) -> str | None:
    """Which part an action belongs to; None if to the one around it. Callbacks have hooks of the module's names."""
    return None if action.startswith("[Callback]") else _ACTIONS.get(action.rpartition(".")[2])
