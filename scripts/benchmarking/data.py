"""Images per second of in-memory augmentation, beside torchvision's transforms of PIL images in a DataLoader."""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarking.measure import machine
from benchmarking.report import Cell, Report
from distill.data import Augment, Split
from distill.data.batches import ImageBatches
from distill.data.order import TrainingOrder
from distill.types import Batch

Row = dict[str, Cell]

SIZE, PADDING, CLASSES = 32, 4, 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark.py data`."""
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5, help="turns that all ways take")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder for data-DEVICE.json and .md")


def run(options: argparse.Namespace) -> None:
    """Measure, print, write."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = compare(batch_size=options.batch_size, repeats=options.repeats)
    notes = [
        "Random crops and flips of 50,000 images of 32 x 32, ready on the training device; medians over turns.",
        "One computing thread: the other cores are the network's or the workers'.",
    ]
    report = Report("Loading and augmentation: images per second", notes, machine(device), rows)
    report.show()
    report.write(options.out, f"data-{device.type}")


def compare(
    images: int = 50_000, batch_size: int = 64, steps: int = 100, repeats: int = 5, workers: Sequence[int] = (0, 2)
) -> list[Row]:
    """Random crops and flips of noise in the shape of CIFAR, ready on the training device (a GPU where there is one).

    All ways take turns, `repeats` times, so that they meet the same disturbances; ratios are within a turn. This
    process computes with one thread, as the other cores are the network's or the workers'.

    Args:
        images: in the set.
        batch_size: images per step.
        steps: batches that are timed in one turn.
        repeats: turns.
        workers: numbers of worker processes of the DataLoaders to compare with.

    Returns:
        One row for each way: its name, images per second (median, smallest, largest), and the median of this
        package's images per second over its own.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pixels = torch.randint(0, 256, (images, 3, SIZE, SIZE), dtype=torch.uint8)
    targets = torch.arange(images) % CLASSES
    ways: dict[str, Iterator[Any]] = {"distill in memory": _endless(_ours(pixels, targets, batch_size, device))}
    for number in workers:
        loader = DataLoader(
            PilImages(pixels, targets),
            batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=number,
            persistent_workers=number > 0,
            pin_memory=device.type == "cuda",
        )
        ways[f"torchvision and PIL, {number} workers"] = _endless(loader)
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for turn in range(repeats + 1):
            for way, batches in ways.items():
                speed = batch_size * steps / _seconds(batches, steps, device)
                if turn:  # the first warms up
                    speeds[way].append(speed)
    finally:
        torch.set_num_threads(threads)
    ours = next(iter(speeds.values()))
    return [
        {
            "pipeline": way,
            "device": str(device),
            "batch_size": batch_size,
            "images_per_second": round(median(measured)),
            "slowest": round(min(measured)),
            "fastest": round(max(measured)),
            "ours_over_this": round(median(a / b for a, b in zip(ours, measured, strict=True)), 2),
        }
        for way, measured in speeds.items()
    ]


class PilImages(Dataset[tuple[Tensor, int]]):
    """What most training scripts do with CIFAR: random crops and flips of PIL images.

    Args:
        pixels: (N, C, H, W) uint8.
        targets: (N,) int64.
        last: further transforms, of tensors.
    """

    def __init__(self, pixels: Tensor, targets: Tensor, *last: Callable[[Tensor], Tensor]) -> None:
        self.pixels = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets = targets.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(pixels.shape[-2:], padding=PADDING),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                *last,
            ]
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.targets[index]


def _ours(pixels: Tensor, targets: Tensor, batch_size: int, device: torch.device) -> Iterable[Any]:
    order = TrainingOrder(torch.arange(len(targets)), batch_size, seed=0)
    augment = Augment(crop_padding=PADDING, flip=True)
    return ImageBatches(Split(pixels, targets), order, num_classes=CLASSES, augment=augment, device=device)


def _endless(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from batches


def _seconds(batches: Iterator[Any], steps: int, device: torch.device) -> float:
    start = time.perf_counter()
    for batch in islice(batches, steps):
        images: Any = batch.inputs if isinstance(batch, Batch) else batch[0]
        images.to(device, non_blocking=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
