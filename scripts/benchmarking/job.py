"""What is trained, the same for every way: images, a frozen teacher, an untrained student."""

import argparse
import statistics
import time
from collections.abc import Generator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from distill.config import build
from distill.config.run_config import parse
from distill.data import Split
from distill.data.arrays import arrays
from distill.files import CONFIGS
from distill.models.checkpoint import load_weights
from distill.models.weights_file import save_weights
from distill.training.callbacks import WARMUP_STEPS

Steps = Generator[None]
"""A training that pauses after each of its steps."""

SIZE, PADDING, CLASSES, VALIDATION = 32, 4, 100, 100
LR, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4
TEMPERATURE, WEIGHT, LABEL_WEIGHT = 4.0, 0.9, 0.1


class Job:
    """CIFAR-100's recipe on as many images as fill an epoch of `options.steps`.

    The teacher's weights are random; its BatchNorms have seen some images, so that its answers are of a sane size.

    Args:
        options: as parsed by `benchmark.py train`.
        directory: for the images and the teacher's weights.

    Attributes:
        images: (N, C, H, W) uint8. targets: (N,) int64.
        data, weights: the files that `train.py` reads.
    """

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options, self.directory = options, directory
        self.batch_size: int = options.batch_size
        self.device = torch.device(options.device)
        self.data, self.weights = directory / "images.npz", directory / "teacher.safetensors"
        _write_images(self.data, options.data, options.steps * options.batch_size)
        self.source = arrays(str(self.data))
        assert isinstance(self.source.train, Split)
        self.images, self.targets = self.source.train.images, self.source.train.targets
        self.mean, self.std = self.source.statistics()
        teacher = self._network(options.teacher)
        settle_norms(teacher, self.normalised(self.images[:256]))
        save_weights(teacher, self.weights, {"name": options.teacher})

    def teacher(self) -> nn.Module:
        """The frozen teacher, on the device."""
        network = self._network(self.options.teacher)
        load_weights(network, self.weights)
        return network.to(self.device).eval().requires_grad_(False)

    def student(self) -> nn.Module:
        """A new student, on the device; the same each time."""
        return self._network(self.options.student).to(self.device).train()

    @property
    def overrides(self) -> list[str]:
        """What `train.py` needs to do the job."""
        options = self.options
        return [
            "experiment=cifar100",
            f"data.path={self.data}",
            f"data.batch_size={self.batch_size}",
            f"model@teacher={options.teacher}",
            f"model@student={options.student}",
            f"teacher.checkpoint={self.weights}",
            f"trainer={'gpu' if self.device.type == 'cuda' else 'cpu'}",
            f"trainer.max_epochs={options.epochs}",
            "baseline=false",
        ]

    def normalised(self, images: Tensor) -> Tensor:
        """(n, C, H, W) uint8 to what the networks look at."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (images / 255 - mean) / std

    def images_per_second(self, steps: Steps) -> float:
        """By the median over `options.epochs` of steps after a few to warm up, which is how `train.py` measures."""
        seconds = []
        with closing(steps):
            next(islice(steps, WARMUP_STEPS - 1, None))
            last = time.perf_counter()
            for _ in islice(steps, self.options.epochs * self.options.steps):
                now = time.perf_counter()
                seconds.append(now - last)
                last = now
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.batch_size / statistics.median(seconds)

    def _network(self, name: str) -> nn.Module:
        torch.manual_seed(0)
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = parse(compose("train", [f"model@student={name}"])).student
        return build.network_of(config, self.source, (self.mean, self.std)).backbone


@torch.no_grad()
def settle_norms(network: nn.Module, images: Tensor) -> None:
    """Give BatchNorms the statistics of some images: so a network of random weights gives answers of a sane size."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics of what it sees, not a step towards them
    network.train()(images)


def _write_images(file: Path, given: Path | None, count: int) -> None:
    """So many training images of a file, evenly spaced so that all classes are among them, or noise."""
    if given is None:
        random = np.random.default_rng(0)
        sizes = {"train": count, "val": VALIDATION}
        images = {
            f"{name}_images": random.integers(0, 256, (size, SIZE, SIZE, 3), dtype=np.uint8)
            for name, size in sizes.items()
        }
        labels = {f"{name}_labels": np.arange(size) % CLASSES for name, size in sizes.items()}
        np.savez(file, allow_pickle=False, **images, **labels, class_names=[str(i) for i in range(CLASSES)])
        return
    arrays(str(given))  # says what is wrong with the file
    with np.load(given) as archive:
        content = {name: archive[name] for name in archive.files}
    for name, size in (("train", count), ("val", VALIDATION)):
        rows = np.linspace(0, len(content[f"{name}_labels"]) - 1, size).astype(int)
        content |= {key: content[key][rows] for key in (f"{name}_images", f"{name}_labels")}
    np.savez(file, allow_pickle=False, **content)
