"""Filling a teacher's cache ahead of training: what `python scripts/cache_teacher.py` does."""

import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from distill.config import build
from distill.config.run_config import check_names, parse
from distill.errors import SettingError
from distill.experiment import preflight
from distill.experiment.directory import check_unused, save_config
from distill.experiment.lock import held
from distill.experiment.pipeline import prepare, prepare_as_one_of_many
from distill.experiment.run import Run
from distill.log import log_to
from distill.methods import Supervised
from distill.models.network import Network
from distill.signals import take_back_signals
from distill.teachers.cached import CachedTeacher
from distill.training.launch import launch, processes_to_start
from distill.training.peers import Peers
from distill.types import Batch, SplitName

log = logging.getLogger("distill")


def fill_cache(composed: DictConfig, directory: Path) -> None:
    """Have the teacher of a run answer all that the run would ask, in as many processes as the trainer asks for.

    A teacher without a checkpoint is trained first, as the run would train it, and saved to the directory. What was
    answered before is not asked again.

    Raises:
        SettingError: a setting cannot work, or the disk is full.
    """
    with held(directory, "hydra.run.dir"):
        log_to(directory / "cache_teacher.log")
        check_names(composed)
        run = prepare(parse(composed), directory)
        networks = preflight.check_networks(run)
        run = preflight.settle_arithmetic(run, networks)
        config = run.config
        _cached(run, preflight.spare(networks["teacher"])).check(build.method(config.method))
        check_unused(config.values, directory)
        save_config(config.values, directory, run.hardware.world_size)
        processes = processes_to_start(run.hardware)
        if processes:
            networks.clear()  # each process builds its own
            launch(fill_as_one_of_many, directory, processes)
        else:
            if Peers.met:
                Peers.met.start(directory)
            fill(run, networks)


def fill_as_one_of_many(directory: Path) -> None:
    """One process of several, for the run whose config.yaml lies in `directory`."""
    run = prepare_as_one_of_many(directory, "cache_teacher.log")
    fill(run, run.networks())


def fill(run: Run, networks: Mapping[str, Network]) -> None:
    """Ask the teacher for this process's share of what is missing."""
    config = run.config
    network = networks["teacher"]
    if not network.trained:
        network, _ = run.stage("teacher").train(network, None, Supervised())
    teacher = _cached(run, network)
    run.stage("student").module(networks["student"], teacher, build.method(config.method))  # taps what is wanted
    trainer = build.trainer(config.trainer, logger=False, enable_checkpointing=False, max_epochs=1)
    bars = config.trainer.own.progress
    filling = Filling(teacher, bars=sys.stdout.isatty() if bars == "auto" else bars)
    asked = Missing(teacher, trainer.strategy.root_device, trainer.global_rank, trainer.world_size)
    trainer.predict(filling, dataloaders=asked, return_predictions=False)
    trainer.strategy.barrier()
    if not teacher.keeping:
        raise SettingError(
            f"teaching.dir={teacher.root}: could not be filled: no space is left, or it may not be written"
        )


class Missing:
    """Batches of what a teacher has not answered yet; each process takes every so-manieth sample.

    Args:
        teacher: whose cache.
        device: where batches come into being.
        process, processes: which of how many this is.
    """

    def __init__(self, teacher: CachedTeacher, device: torch.device, process: int, processes: int) -> None:
        self.teacher, self.device, self.process, self.processes = teacher, device, process, processes

    def __iter__(self) -> Iterator[Batch]:
        inputs = self.teacher.inputs
        epochs: list[tuple[SplitName, int]] = [("train", epoch) for epoch in range(inputs.distinct_epochs)]
        for split, epoch in (("val", 0), *epochs):
            share = inputs.wanted(split)[self.process :: self.processes]
            indices = torch.from_numpy(share[~self.teacher.open().table(split, epoch).written()[share]])
            for batch in inputs.batches(split, epoch, indices, self.device, inputs.workers):
                yield replace(batch, split=split)


class Filling(pl.LightningModule):
    """Asks, and shows how far it is: a bar on a terminal, a line every tenth elsewhere.

    Args:
        teacher: that is asked, and remembers.
        bars: whether to show a bar.
    """

    def __init__(self, teacher: CachedTeacher, *, bars: bool) -> None:
        super().__init__()
        self.teacher, self.bars = teacher, bars
        self._bar: Progress | None = None
        self._done, self._total, self._started = 0, 0, 0.0

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Batches come into being on the device."""
        return batch

    def on_predict_start(self) -> None:
        """Open the cache, and say what it takes."""
        take_back_signals()  # Lightning would note a signal, and go on
        self._total = math.ceil(self.teacher.open().missing() / self.trainer.world_size)
        self.trainer.strategy.barrier()  # or one process would count what another has begun to fill
        self._started = time.perf_counter()
        if self.bars and self.trainer.is_global_zero:
            columns = (
                TextColumn("[bold]answers"),
                BarColumn(),
                TextColumn("{task.percentage:.0f} %"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(file=sys.stdout))
            self._bar.add_task("answers", total=self._total)
            self._bar.start()

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> int:
        """One batch; gives its size."""
        self.teacher(batch)
        if not self.teacher.keeping:
            self.trainer.should_stop = True
        before, self._done = self._done, self._done + len(batch)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)
        elif self.trainer.is_global_zero and self._done * 10 // max(1, self._total) > before * 10 // max(
            1, self._total
        ):
            print(f"answers   {min(1.0, self._done / max(1, self._total)):.0%}", flush=True)
        return len(batch)

    def on_predict_end(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.stop()
        if self.trainer.is_global_zero:
            print(f"filled in {time.perf_counter() - self._started:.1f} s", flush=True)


def _cached(run: Run, network: Network) -> CachedTeacher:
    teacher = run.teacher(network)
    if not isinstance(teacher, CachedTeacher):
        target = run.config.teaching.target._target_
        raise SettingError(f"teaching._target_={target}: keeps no answers; use teaching=cached")
    return teacher
