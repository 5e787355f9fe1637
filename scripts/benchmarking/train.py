"""Training throughput by `python train.py`: beside torchdistill, and beside the fastest loop by hand; start-up."""

import argparse
import itertools
import os
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarking import by_hand, torchdistill_box
from benchmarking.commands import seconds_to_first_step, seconds_to_help, trained
from benchmarking.job import Job, Steps
from benchmarking.measure import machine, ratio
from benchmarking.report import Cell, Report

Way = Callable[[], float]
"""Trains, and says how many images per second."""
Loop = Callable[[Job, int], Steps]
"""Trains with so many workers."""
Row = dict[str, Cell]
Speeds = dict[str, list[float]]

HELP, FIRST_STEP = "python train.py --help", "python train.py, to its first step"
TORCHDISTILL, PLAIN = "torchdistill", "PyTorch by hand, DataLoader"
MOST_WORKERS = 16  # what torchdistill's configs for CIFAR say
TRIALS = 3
VARIANTS: dict[str, list[str]] = {
    "live teacher": [],
    "live teacher, compiled": ["trainer.compile=teacher"],
    "cached answers": ["teaching=cached", "teaching.epochs=1", "teaching.dir=answers"],
    "live teacher in float32": ["trainer.precision=32-true"],
}
"""Settings of our own runs, beside the recipe's."""

FLOOR = (
    "floor: the same student's step and teacher's answer by hand, in the precision of the distill below it and with "
    "channels last: batches lie ready in memory, normalised, neither cropped nor flipped; the teacher's BatchNorms "
    "are folded into its convolutions, and it is compiled where ours is; nothing is logged or validated."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark.py train`."""
    parser.add_argument("--teacher", default="resnet56", help="of configs/model/")
    parser.add_argument("--student", default="resnet20", help="of configs/model/")
    parser.add_argument("--data", type=Path, default=None, help="FILE.npz as data=arrays takes it; default: noise")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50, help="in an epoch")
    parser.add_argument("--epochs", type=int, default=2, help="that each way trains in each round")
    parser.add_argument("--rounds", type=int, default=5, help="in which all ways take turns")
    parser.add_argument("--starts", type=int, default=3, help="times that start-up is measured; 0: not at all")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder for train-DEVICE.json and .md")
    parser.add_argument("overrides", nargs="*", help="further settings of our own runs, such as trainer.precision=...")


def run(options: argparse.Namespace) -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(options, Path(directory))
        speeds = bench.speeds()
        rows = [*throughput(speeds, bench.floors), *bench.starts()]
    report = Report("Training: images per second, and start-up", bench.notes, machine(bench.job.device), rows)
    report.show()
    report.write(options.out, f"train-{options.device}")


class Bench:
    """The ways to do one job.

    Args:
        options: as parsed.
        directory: for all that is written while measuring.

    Attributes:
        floors: to each of our own ways the name of the floor that it is measured against.
        notes: what there is to say of the figures.
    """

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options, self.directory = options, directory
        self.job = Job(options, directory)
        self.floors: dict[str, str] = {}
        self._runs = itertools.count()
        self.notes = [
            f"{options.teacher} teaches {options.student} by softened outputs; random crops and flips of "
            f"{'noise in the shape of CIFAR-100' if options.data is None else 'the images of --data'}, batches of "
            f"{options.batch_size}, SGD with momentum and weight decay. The teacher's weights are random.",
            f"Images per second: median over {options.epochs} x {options.steps} steps after the first few; then the "
            f"median over {options.rounds} rounds in which all ways take turns. Ratios are medians over rounds, too.",
        ]

    def speeds(self) -> Speeds:
        """Images per second of each way in each round, every other one backwards: the machine's speed drifts."""
        ways = self._ways()
        found: Speeds = {name: [] for name in ways}
        for i in range(self.options.rounds):
            for name in list(ways)[:: -1 if i % 2 else 1]:
                found[name].append(ways[name]())
                print(f"round {i + 1}: {name}: {found[name][-1]:.0f} images/s", flush=True)
        return found

    def starts(self) -> list[Row]:
        """Seconds until the command does what was asked for."""
        found: dict[str, list[float]] = {HELP: [], FIRST_STEP: []}
        for i in range(self.options.starts):
            found[HELP].append(seconds_to_help())
            found[FIRST_STEP].append(seconds_to_first_step(self.directory / f"start{i}"))
        return [_row(way, seconds=statistics.median(seconds)) for way, seconds in found.items() if seconds]

    def _ways(self) -> dict[str, Way]:
        """What to measure, by name. Each has run once: the cache is full, and the workers are chosen."""
        ways: dict[str, Way] = {}
        if torchdistill_box.installed():
            ways[TORCHDISTILL] = self._loaded(
                TORCHDISTILL,
                torchdistill_box.torchdistill,
                f"{version('torchdistill')}, its DistillationBox and KDLoss in the loop of its examples, loader and "
                "transforms of PIL images as in its configs for CIFAR, float32",
            )
        else:
            self.notes.append(f"{TORCHDISTILL} is not installed, and left out: pip install 'distill[benchmark]'.")
        ways[PLAIN] = self._loaded(PLAIN, by_hand.plain, "the same loader and transforms, F.kl_div, float32")
        for variant, settings in VARIANTS.items():
            precision = self._train(variant)["precision"]
            floor, name = f"floor, {variant}", f"distill, {variant}"
            steps = partial(
                by_hand.floor,
                self.job,
                precision,
                cached="teaching=cached" in settings,
                compiled="trainer.compile=teacher" in settings,
            )
            ways[floor] = partial(self._stepping, steps)
            ways[name] = partial(self._training, variant)
            self.floors[name] = floor
            given = " ".join([*self.options.overrides, *settings]) or "its defaults"
            self.notes.append(f"{name}: `python train.py` with {given}; precision {precision}.")
        self.notes.append(FLOOR)
        return ways

    def _loaded(self, name: str, loop: Loop, what: str) -> Way:
        """A loop over a DataLoader, with or without workers, whichever is faster in a few turns."""
        loops = {
            workers: partial(self._stepping, partial(loop, self.job, workers))
            for workers in (0, min(MOST_WORKERS, os.cpu_count() or 1))
        }
        turns = [{workers: measure() for workers, measure in loops.items()} for _ in range(TRIALS)]
        speeds = {workers: statistics.median(turn[workers] for turn in turns) for workers in loops}
        best = max(speeds, key=speeds.__getitem__)
        tried = ", ".join(f"{speed:.0f} images/s with {workers}" for workers, speed in speeds.items())
        self.notes.append(f"{name}: {what}; {best} workers, after a trial: {tried}.")
        return loops[best]

    def _stepping(self, steps: Callable[[], Steps]) -> float:
        return self.job.images_per_second(steps())

    def _training(self, variant: str) -> float:
        return float(self._train(variant)["student"]["images_per_second"])

    def _train(self, variant: str) -> dict[str, Any]:
        """What a run of the command says of itself."""
        overrides = [*self.job.overrides, *self.options.overrides, *VARIANTS[variant]]
        return trained(self.directory / f"run{next(self._runs)}", overrides)


def throughput(speeds: Speeds, floors: dict[str, str]) -> list[Row]:
    """One row a way.

    Args:
        speeds: images per second of each way in each round.
        floors: to some ways the name of the one that is their floor.
    """
    reference = speeds.get(TORCHDISTILL)
    return [
        _row(
            way,
            speed=statistics.median(found),
            over_torchdistill=None if reference is None else ratio(found, reference),
            over_floor=ratio(found, speeds[floors[way]]) if way in floors else None,
        )
        for way, found in speeds.items()
    ]


def _row(
    way: str,
    *,
    speed: float | None = None,
    over_torchdistill: float | None = None,
    over_floor: float | None = None,
    seconds: float | None = None,
) -> Row:
    ratios = {"x torchdistill": over_torchdistill, "x its floor": over_floor}
    return {"way": way, "images/s": speed, **ratios, "seconds": seconds}
