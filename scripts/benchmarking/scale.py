"""Images per second of several processes on the CPU, one a core, beside one process on one core."""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import torch

from benchmarking.commands import trained
from benchmarking.job import Job
from benchmarking.measure import machine
from benchmarking.report import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `benchmark.py scale`."""
    parser.add_argument("--teacher", default="resnet56", help="of configs/model/")
    parser.add_argument("--student", default="resnet20", help="of configs/model/")
    parser.add_argument("--batch-size", type=int, default=64, help="of each process")
    parser.add_argument("--steps", type=int, default=25, help="in an epoch of one process")
    parser.add_argument("--rounds", type=int, default=3, help="in which one process and several take turns")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder for scale-cpu.json and .md")


def run(options: argparse.Namespace) -> None:
    """Measure, print, write."""
    options.device, options.data, options.epochs = "cpu", None, 2
    many, cores = options.processes, sorted(os.sched_getaffinity(0))
    if many > len(cores):
        raise SystemExit(f"error: --processes={many}: must be at most the number of cores, {len(cores)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    found: dict[int, list[float]] = {1: [], many: []}
    with tempfile.TemporaryDirectory() as place:
        jobs = {}
        for count in found:
            directory = Path(place) / str(count)
            directory.mkdir()
            jobs[count] = Job(argparse.Namespace(**{**vars(options), "steps": count * options.steps}), directory)
        for i in range(options.rounds):
            for count, job in jobs.items():
                os.sched_setaffinity(0, cores[:count])
                try:
                    said = trained(job.directory / f"run{i}", [*job.overrides, *_settings(count, options.precision)])
                finally:
                    os.sched_setaffinity(0, cores)
                found[count].append(float(said["student"]["images_per_second"]))
                print(f"round {i + 1}: {count} processes: {found[count][-1]:.0f} images/s", flush=True)
    ratios = [several / one for one, several in zip(found[1], found[many], strict=True)]
    report = Report(
        "Several processes on the CPU",
        [
            f"{options.teacher} teaches {options.student}, batches of {options.batch_size} in each process, "
            f"{options.precision}, one thread and one core for each process; gloo.",
            f"Medians over {options.rounds} rounds in which both take turns; the ratio is the median of the rounds'.",
        ],
        machine(torch.device("cpu")),
        [
            {"way": f"{count} process{'es' if count > 1 else ''}", "images/s": statistics.median(speeds),
             "times one": statistics.median(ratios) if count > 1 else 1.0}
            for count, speeds in found.items()
        ],
    )  # fmt: skip
    report.show()
    report.write(options.out, "scale-cpu")


def _settings(processes: int, precision: str) -> list[str]:
    several = ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={processes}"] if processes > 1 else []
    return [*several, f"trainer.precision={precision}", "trainer.compile=false", "preflight=false", "logger=none"]
