"""Training with cached answers: its throughput beside training on labels alone, and what a sweep of twelve costs."""

import argparse
import logging
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir

from benchmarking.job import settle_norms
from benchmarking.measure import machine
from benchmarking.report import Cell, Report
from distill.config import build
from distill.config.run_config import parse
from distill.data import ImageDataModule, ImageSource, Split
from distill.data.augment import Augment
from distill.files import CONFIGS
from distill.methods import KD, Supervised
from distill.models.network import Network
from distill.teachers import CachedTeacher, LiveTeacher, Teacher, TeacherInputs
from distill.training.callbacks import Throughput
from distill.training.module import DistillModule

CLASSES, SIZE = 100, 32
TEMPERATURES, SEEDS = (1.0, 2.0, 4.0, 8.0), (0, 1, 2)
AUGMENT = Augment(crop_padding=4, flip=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark.py cache`."""
    parser.add_argument("--teacher", default="resnet56", help="of configs/model/")
    parser.add_argument("--student", default="resnet20", help="of configs/model/")
    parser.add_argument("--images", type=int, default=2048, help="in the training set")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5, help="in which all ways take turns")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder for cache-DEVICE.json and .md")


def run(options: argparse.Namespace) -> None:
    """Measure, print, write."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(options, Path(directory))
        rows = [*bench.throughput(options.rounds), *bench.sweep()]
    notes = [
        f"{options.teacher} teaches {options.student}; {options.images} images of {SIZE} x {SIZE} in {CLASSES} "
        f"classes, crop and flip, batches of {options.batch_size}, all logits in float32, one epoch.",
        f"Throughput: median over steps; median over {options.rounds} rounds in which the ways take turns.",
        "Sweep: seconds of 4 temperatures x 3 seeds that share one cache, which the first run fills; each beside a "
        "training on labels alone of the same seed; `over labels alone` is without the one pass of the teacher.",
    ]
    report = Report("Cached teacher answers: throughput and a sweep", notes, machine(bench.device), rows)
    report.show()
    report.write(options.out, f"cache-{bench.device.type}")


class Bench:
    """One data set of noise, a teacher and a student, trained an epoch at a time.

    Args:
        options: as parsed.
        directory: for caches.
    """

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options, self.directory = options, directory
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        targets = torch.arange(options.images) % CLASSES
        pixels = torch.randint(0, 256, (options.images, 3, SIZE, SIZE), dtype=torch.uint8)
        train, val = Split(pixels, targets), Split(pixels[:CLASSES], targets[:CLASSES])
        self.source = ImageSource("noise", train, val, [str(number) for number in range(CLASSES)])
        self.network = self._network(options.teacher, seed=0).to(self.device)
        settle_norms(self.network, pixels[:256].to(self.device))

    def throughput(self, rounds: int) -> list[dict[str, Cell]]:
        """Images per second of each way."""
        ways = {
            "labels alone": None,
            "cached teacher": self._cached("throughput"),
            "live teacher": LiveTeacher(self.network),
        }
        self._epoch(ways["cached teacher"], 4.0, 0)  # fills it
        found: dict[str, list[float]] = {way: [] for way in ways}
        for i in range(rounds + 1):  # the first warms up
            for way, teacher in ways.items():
                speed = self._epoch(teacher, 4.0, 0)[1]
                if i:
                    found[way].append(speed)
        reference = found["labels alone"]
        return [
            {
                "way": f"train with {way}" if way != "labels alone" else f"train on {way}",
                "images/s": statistics.median(speeds),
                "seconds": None,
                "over labels alone": statistics.median(a / b for a, b in zip(speeds, reference, strict=True)),
            }
            for way, speeds in found.items()
        ]

    def sweep(self) -> list[dict[str, Cell]]:
        """Seconds of twelve runs, each with a teacher of its own that opens the shared cache, and of twelve without."""
        alone = cached = 0.0
        for temperature in TEMPERATURES:
            for seed in SEEDS:
                alone += self._epoch(None, temperature, seed)[0]
                cached += self._epoch(self._cached("sweep"), temperature, seed)[0]
        teaching = self._teacher_pass()
        row = {"images/s": None}
        return [
            {"way": "12 trainings on labels alone", **row, "seconds": alone, "over labels alone": 1.0},
            {"way": "one pass of the teacher", **row, "seconds": teaching, "over labels alone": None},
            {"way": "sweep of 12", **row, "seconds": cached, "over labels alone": (cached - teaching) / alone},
        ]

    def _epoch(self, teacher: Teacher | None, temperature: float, seed: int) -> tuple[float, float]:
        """Seconds of training a new student for an epoch, and its images per second."""
        method = Supervised() if teacher is None else KD(temperature=temperature)
        optimizer = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4)
        data = ImageDataModule(
            self.source, batch_size=self.options.batch_size, augment=AUGMENT, seed=seed, augment_seed=0
        )
        counter = Throughput()
        trainer = pl.Trainer(
            accelerator=self.device.type if self.device.type == "cuda" else "cpu",
            devices=1,
            max_epochs=1,
            limit_val_batches=0,
            callbacks=[counter],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=self.directory,
        )
        start = time.perf_counter()
        student = self._network(self.options.student, seed)
        trainer.fit(DistillModule(student, teacher, method, optimizer=optimizer, seed=seed), datamodule=data)
        return time.perf_counter() - start, counter.images_per_second or 0.0

    def _teacher_pass(self) -> float:
        """Seconds of the teacher's answers to every image."""
        loader = TeacherInputs(self.source, torch.arange(self.options.images), AUGMENT).batches(
            "train", 0, torch.arange(self.options.images), self.device
        )
        start = time.perf_counter()
        with torch.no_grad():
            for batch in loader:
                self.network(batch.inputs).logits.sum().item()
        return time.perf_counter() - start

    def _cached(self, name: str) -> CachedTeacher:
        samples = torch.arange(self.options.images)
        inputs = TeacherInputs(self.source, samples, AUGMENT, epochs=1, batch_size=self.options.batch_size)
        return CachedTeacher(self.network, inputs, dir=str(self.directory / name))

    def _network(self, name: str, seed: int) -> Network:
        torch.manual_seed(seed)
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = parse(compose("train", [f"model@student={name}"])).student
        statistics = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]
        return build.network_of(config, self.source, statistics)
