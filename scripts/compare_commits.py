"""Whether two commits train the same networks, bit for bit: `python scripts/compare_commits.py main HEAD`.

A fixed set of small runs is made with each; weights, scores and histories are compared. A commit may also be a
directory, such as `.` for what isn't committed yet. Exits with 1 if anything differs, or could not be compared.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

TIMEOUT = 600  # seconds for one run
SHOWN = 3  # differences of a kind that are named
# What is no result, or never twice the same.
VARYING = re.compile(r"seconds|latency|per_second|memory|versions|warnings|inference")
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# ------------------------------------------------------------------------------------------------------------ the runs

CPU = ("trainer=cpu", "trainer.precision=32-true")
SHORT = ("trainer.max_epochs=3", "teacher.max_epochs=3")
# {data}: what `make_data` makes; {own}: the run's own directory; {scratch}: the first commit's run of this name, whose
# networks teach in the runs of both commits: what differs in how a teacher is trained shows once, not in every run.
PICTURES = (*CPU, *SHORT, "data=arrays", "data.path={data}/pictures.npz", "data.batch_size=32", "logger=none",
            "data.augment.crop_padding=4", "data.augment.flip=true", "model@student=resnet8")  # fmt: skip
TAUGHT = (*PICTURES, "model@teacher=resnet14", "teacher.checkpoint={scratch}/teacher.safetensors", "baseline=false")
CACHED = ("teaching=cached", "teaching.dir={own}/cache", "teaching.epochs=2")
STOPPED = "stopped"  # a run of this name is killed after its first epoch, and goes on

RUNS: dict[str, tuple[str, ...]] = {
    "scratch": (*PICTURES, "model@teacher=resnet14"),
    "digits": CPU,
    "digits-bf16": ("trainer=cpu", "trainer.precision=bf16-mixed", "trainer.max_epochs=1", "teacher.max_epochs=1"),
    "ddp": (*SHORT, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"),
    "folder": (
        *CPU, *SHORT, "data=image_folder", "data.root={data}/folder", "data.image_size=16", "data.in_memory=false",
        "data.workers=1", "data.batch_size=8", "data.augment.resized_crop=0.3", "data.augment.trivial_augment=true",
        "data.augment.color_jitter=0.3", "data.augment.cutout=4", "data.augment.cutmix=1", "logger=none",
    ),
    "kd": TAUGHT,
    "kd+at": (*TAUGHT, "method=[kd,at]"),
    "crd": (*TAUGHT, "method=[crd]", "method.crd.negatives=64"),
    "reviewkd": (*TAUGHT, "method=[reviewkd]"),
    "simkd": (*TAUGHT, "method=[simkd]"),
    "dml": (*TAUGHT, "method=[dml]"),
    "ctkd": (*TAUGHT, "method=[ctkd]"),
    "cached": (*TAUGHT, *CACHED),
    "cached-features": (*TAUGHT, *CACHED, "method=[kd,fitnet]", "teaching.features=true"),
    "cached-top-k": (*TAUGHT, *CACHED, "teaching.top_k=3"),
    "ensemble": (
        *PICTURES, "baseline=false", "model@teacher=resnet8", "teacher.checkpoint={scratch}/baseline.safetensors",
        "teaching=ensemble", "teaching.checkpoints=[{scratch}/student.safetensors]",
    ),
    "ema": (*TAUGHT, "teaching=ema"),
    "chain": (*TAUGHT, "chain=[resnet8]"),
    "sgd": (
        *TAUGHT, "optimizer=sgd", "scheduler=multistep", "trainer.accumulate_grad_batches=2", "data.augment.mixup=0.2",
    ),
    STOPPED: (*TAUGHT, "trainer.max_epochs=6"),
}  # fmt: skip


def make_data(directory: Path) -> None:
    """Write pictures.npz, of CIFAR's shape, ten classes of a colour each, and a folder of files of several sizes."""
    random = np.random.default_rng(0)

    def draw(labels: np.ndarray, side: int) -> np.ndarray:
        colours = random.permutation(np.linspace(40, 215, 10))[np.stack([labels, labels * 3 % 10, labels * 7 % 10], 1)]
        noise = random.normal(0, 40, (len(labels), side, side, 3))
        return (colours[:, None, None] + noise).clip(0, 255).astype(np.uint8)

    splits = {"train": np.arange(640) % 10, "val": np.arange(100) % 10}
    arrays = {f"{split}_images": draw(labels, 32) for split, labels in splits.items()}
    np.savez(directory / "pictures.npz", **arrays, **{f"{split}_labels": labels for split, labels in splits.items()})
    for split, each in {"train": 16, "val": 4}.items():
        for label, name in enumerate(("ant", "bee", "cat")):
            folder = directory / "folder" / split / name
            folder.mkdir(parents=True)
            for number in range(each):
                pixels = draw(np.array([label]), 16 + number % 5)[0]
                Image.fromarray(pixels).save(folder / f"{number:02}.png")


@dataclass(frozen=True)
class Side:
    """One of the two: its source code, where its runs go, and the networks that teach in them."""

    code: Path
    runs: Path
    data: Path
    scratch: Path

    def train(self, name: str) -> str | None:
        """Make the run of this name; returns what went wrong."""
        directory = self.runs / name
        places = {"data": self.data, "own": directory, "scratch": self.scratch}
        settings = [setting.format_map(places) if "{" in setting else setting for setting in RUNS[name]]
        settings.append(f"hydra.run.dir={directory}")
        if name != STOPPED:
            return self._command(settings)
        if not self._stop_after_an_epoch(settings, directory):
            return "ended before it could be stopped"
        return self._command([*CPU, f"resume={directory}"])

    def _command(self, settings: list[str]) -> str | None:
        try:
            done = subprocess.run(
                **self._process(settings), capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            return f"took more than {TIMEOUT} s"
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        return f"exit status {done.returncode}: {said[-1]}" if done.returncode else None

    def _stop_after_an_epoch(self, settings: list[str], directory: Path) -> bool:
        deadline = time.monotonic() + TIMEOUT
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(**self._process(settings), **quiet) as process:
            while process.poll() is None and not list(directory.rglob("*.ckpt")) and time.monotonic() < deadline:
                time.sleep(0.01)
            process.kill()
        return process.returncode == -signal.SIGKILL

    def _process(self, settings: list[str]) -> dict[str, Any]:
        environment = {**os.environ, **THREADS, "PYTHONPATH": str(self.code)}
        environment.pop("HYDRA_FULL_ERROR", None)
        return {"args": [sys.executable, "train.py", *settings], "cwd": self.code, "env": environment}


# ---------------------------------------------------------------------------------------------------------- comparison


@dataclass
class Comparison:
    """What two runs have in common, what differs in it, and what only one of them has."""

    common: int = 0
    different: list[str] = field(default_factory=list)
    only_in: dict[str, list[str]] = field(default_factory=lambda: {"A": [], "B": []})

    def split(self, a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
        """Names that both have; the others are kept in `only_in`."""
        self.only_in["A"] += [prefix + name for name in a if name not in b]
        self.only_in["B"] += [prefix + name for name in b if name not in a]
        names = [name for name in a if name in b]
        self.common += len(names)
        return names

    def add(self, what: str, differences: list[str], of: int) -> None:
        """Note that so many values of a file differ."""
        if differences:
            more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
            self.different.append(f"{what}: {len(differences)} of {of}: {', '.join(differences[:SHOWN])}{more}")


def compare_runs(a: Path, b: Path) -> Comparison:
    """Compare weights, summary.json and histories of two finished runs.

    A value that only one of the two runs has is no difference; a file of weights or a tensor is, and so is a kind of
    file of which they have none in common.
    """
    found = Comparison()
    for kind, compare in {"*.safetensors": _weights, "summary.json": _summary, "record.json": _history}.items():
        ours, theirs = ({str(file.relative_to(run)): file for file in sorted(run.rglob(kind))} for run in (a, b))
        names = found.split(ours, theirs)
        if not names or (compare is _weights and ours.keys() != theirs.keys()):
            found.different.append(f"{kind}: A has {', '.join(ours) or 'none'}, B has {', '.join(theirs) or 'none'}")
        for name in names:
            compare(name, ours[name], theirs[name], found)
    return found


def _weights(name: str, a: Path, b: Path, found: Comparison) -> None:
    ours, theirs = load_file(a), load_file(b)
    names = found.split(ours, theirs, f"{name}: ")
    missing = sorted(ours.keys() ^ theirs.keys())
    found.add(f"{name}, tensors of one side only", missing, len(ours | theirs))
    differences = []
    for key in names:
        one, other = ours[key], theirs[key]
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            differences.append(f"{key} {tuple(one.shape)} {one.dtype} -> {tuple(other.shape)} {other.dtype}")
        elif not torch.equal(*(tensor.reshape(-1).view(torch.uint8) for tensor in (one, other))):
            differences.append(f"{key} by {(one.double() - other.double()).abs().max():.2g}")
    found.add(name, differences, len(names))


def _summary(name: str, a: Path, b: Path, found: Comparison) -> None:
    _values(name, *(dict(leaves(json.loads(file.read_text()))) for file in (a, b)), found)


def _history(name: str, a: Path, b: Path, found: Comparison) -> None:
    ours, theirs = (json.loads(file.read_text())["history"] for file in (a, b))
    if len(ours) != len(theirs):
        found.different.append(f"{name}: {len(ours)} epochs -> {len(theirs)} epochs")
    _values(name, *(dict(leaves(history)) for history in (ours, theirs)), found)


def _values(name: str, a: dict[str, Any], b: dict[str, Any], found: Comparison) -> None:
    names = found.split(a, b, f"{name}: ")
    different = [f"{key} {a[key]!r} -> {b[key]!r}" for key in names if repr(a[key]) != repr(b[key])]  # NaN is NaN
    found.add(name, different, len(names))


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers and words in nested JSON that can be the same twice, by their places: ("student.accuracy", 0.9)."""
    if VARYING.search(place):
        return
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{place}.{name}" if place else str(name))
    else:
        yield place, value


# ------------------------------------------------------------------------------------------------------------- the job


def check_out(commit: str, target: Path) -> Path:
    """The files of a commit, or the directory that `commit` is."""
    if (Path(commit) / "train.py").is_file():
        return Path(commit).resolve()
    target.mkdir()
    files = subprocess.run(["git", "archive", commit], stdout=subprocess.PIPE, check=False)
    if files.returncode:
        sys.exit(f"error: {commit}: neither a commit nor a directory with a train.py")
    subprocess.run(["tar", "-x", "-C", str(target)], input=files.stdout, check=True)
    return target


def compare(sides: tuple[Side, Side], names: list[str], jobs: int) -> bool:
    """Make the runs on both sides, `jobs` at a time, and print a line for each; returns whether all were the same."""
    everything_same = True
    only_in: dict[str, list[str]] = {}  # what only one side has, and in which runs
    with ThreadPoolExecutor(jobs) as pool:
        if any("{scratch}" in setting for name in names for setting in RUNS[name]):
            names = ["scratch", *(name for name in names if name != "scratch")]
        pending: dict[str, list[Future[str | None]]] = {}
        for name in names:
            pending[name] = [pool.submit(side.train, name) for side in sides]
            if name == "scratch":
                pending[name][0].result()  # its networks teach in the others
        for name, futures in pending.items():
            problems = [
                f"{side} {problem}" for side, future in zip("AB", futures, strict=True) if (problem := future.result())
            ]
            found = Comparison(different=problems) if problems else compare_runs(*(side.runs / name for side in sides))
            for side, keys in found.only_in.items():
                for key in keys:
                    only_in.setdefault(f"only in {side}: {re.sub(r': [0-9]+[.]', ': ', key)}", []).append(name)
            same = f"same ({found.common} values)"
            print(f"{name:16} {'differs: ' + '; '.join(found.different) if found.different else same}", flush=True)
            everything_same &= not found.different
    for what, where in only_in.items():
        print(f"{what} (in {', '.join(dict.fromkeys(where))})")
    return everything_same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", metavar="A", help="commit or directory")
    parser.add_argument("b", metavar="B", help="commit or directory")
    parser.add_argument("--only", nargs="+", choices=RUNS, metavar="RUN", help=f"some of: {', '.join(RUNS)}")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, of one thread each (2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        make_data(place)
        sides = tuple(
            Side(check_out(commit, place / f"code_{side}"), place / side, place, place / "A" / "scratch")
            for side, commit in {"A": options.a, "B": options.b}.items()
        )
        sys.exit(0 if compare(sides, options.only or list(RUNS), options.jobs) else 1)


if __name__ == "__main__":
    main()
