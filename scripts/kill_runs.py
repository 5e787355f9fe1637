"""Kills runs at random instants, goes on with them, and compares them bit for bit with one that was never killed.

    python scripts/kill_runs.py DIR --runs 20 --minutes 30   # default runs; --kind ddp, cached, crd, language
    python scripts/kill_runs.py DIR --writers 200            # the functions that write files, alone

Each outcome is a line of DIR/KIND/outcomes.jsonl. The same command goes on where time ended it. Exits with 1 where a
run differs or a file is torn. More settings of train.py may follow behind `--`.
"""

import argparse
import io
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compare_commits import THREADS, compare_runs
from safetensors.torch import load_file

from distill.files import remove_leftovers, write_atomically, write_text
from distill.models.weights_file import save_weights
from distill.training.checkpoint_files import CheckpointFiles, newest_whole

ROOT = Path(__file__).parents[1]
TRAIN = (sys.executable, str(ROOT / "train.py"))
EXACT = ("trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.progress=false", "checkpoint.every_steps=5")
# {run}: the run's own directory.
KINDS: dict[str, tuple[str, ...]] = {
    "default": (),
    "ddp": ("trainer=ddp", "trainer.devices=2"),
    "cached": ("teaching=cached", "teaching.dir={run}/cache"),
    "crd": ("method=[crd]",),
    "language": (
        "data=standard_library", "data.characters=60000", "data.val_characters=10000", "trainer.max_epochs=4",
        "teacher.max_epochs=2",
    ),
}  # fmt: skip

# ---------------------------------------------------------------------------------------------------------- whole runs


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a run that was killed.

    number: of the run; it alone decides at which share of the whole run's time it is killed.
    share: of the whole run's time.
    place: the stage and the step of the newest checkpoint then; None before the first.
    within: whether that checkpoint is from within an epoch.
    different: what differs from the run that was never killed; empty where it is the same bit for bit.
    """

    number: int
    share: float
    place: str | None
    within: bool
    different: list[str]


class Kills:
    """Runs of one kind in a directory, of which each but `whole` is killed once.

    Args:
        directory: where they lie.
        settings: of the runs.
        command: what trains: takes settings, `hydra.run.dir=DIR` or `resume=DIR`.
    """

    def __init__(self, directory: Path, settings: Sequence[str], command: Sequence[str] = TRAIN) -> None:
        self.directory, self.settings, self.command = directory.resolve(), settings, command
        self.file = self.directory / "outcomes.jsonl"
        self.directory.mkdir(parents=True, exist_ok=True)

    def outcomes(self) -> list[Outcome]:
        """What was found until now."""
        lines = self.file.read_text().splitlines() if self.file.is_file() else []
        return [Outcome(**json.loads(line)) for line in lines]

    def go_on(self, runs: int, until: float) -> list[Outcome]:
        """Kill one run after another, up to so many in all, or until `time.monotonic()` is `until`."""
        seconds = self.whole()
        done = {outcome.number for outcome in self.outcomes()}
        for number in (number for number in range(runs) if number not in done):
            if time.monotonic() > until:
                break
            outcome = self.kill(number, seconds)
            with self.file.open("a") as opened:
                opened.write(json.dumps(asdict(outcome)) + "\n")
            told = "; ".join(outcome.different) or "the same bit for bit"
            print(f"run {number}: killed at {outcome.place or 'its start'}, went on: {told}", flush=True)
        return self.outcomes()

    def whole(self) -> float:
        """Make the run that is never killed; returns its seconds."""
        told, run = self.directory / "seconds", self.directory / "whole"
        if not told.is_file():
            shutil.rmtree(run, ignore_errors=True)
            started = time.monotonic()
            self._finish(run)
            write_text(told, str(time.monotonic() - started))
        return float(told.read_text())

    def kill(self, number: int, seconds: float) -> Outcome:
        """Kill a run of this number and go on with it."""
        run = self.directory / f"killed-{number}"
        shutil.rmtree(run, ignore_errors=True)
        share = random.Random(number).random()
        with self._start(run) as process, suppress(subprocess.TimeoutExpired):
            process.wait(share * seconds)
        place, within = _place(run)
        self._finish(run)
        different = compare_runs(self.directory / "whole", run).different
        if not different:
            shutil.rmtree(run)
        return Outcome(number, round(share, 3), place, within, different)

    @contextmanager
    def _start(self, run: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Start a run, or go on with it; at the end of the block its processes are killed, if there are any left."""
        begun = (run / "config.yaml").is_file()
        own = [setting.format(run=run) for setting in self.settings]
        arguments = [f"resume={run}"] if begun else [*own, f"hydra.run.dir={run}"]
        with (self.directory / "stderr.txt").open("w") as told:
            process = subprocess.Popen(
                [*self.command, *arguments], cwd=self.directory, env={**os.environ, **THREADS},
                start_new_session=True, stdout=subprocess.DEVNULL, stderr=told,
            )  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _finish(self, run: Path) -> None:
        with self._start(run) as process:
            status = process.wait()
        if status:
            told = (self.directory / "stderr.txt").read_text().strip().splitlines()
            sys.exit(f"error: {run}: ended with status {status}: {told[-1] if told else 'it said nothing'}")


def _place(run: Path) -> tuple[str | None, bool]:
    """Where a killed run's newest checkpoint stands, and whether that is within an epoch."""
    files = sorted(run.glob("checkpoints/*/last*.ckpt"), key=lambda file: file.stat().st_mtime)
    file = newest_whole(files[-1].with_name("last.ckpt")) if files else None
    if file is None:
        return None, False
    content = torch.load(file, map_location="cpu", weights_only=True)
    progress = content["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    return f"{file.parent.name}, step {content['global_step']}", not progress["is_last_batch"]


# --------------------------------------------------------------------------------------------------------- the writers

SIZE = 200_000  # numbers in each file: enough that kills hit the writing


def _tensors(number: int) -> dict[str, torch.Tensor]:
    return {"number": torch.full((SIZE,), float(number))}


def _save_array(path: Path, number: int) -> None:
    write_atomically(path, lambda temporary: np.save(temporary, np.full(SIZE, number)))


WRITERS: dict[str, Callable[[Path, int], object]] = {
    "text.json": lambda path, number: write_text(path, json.dumps([number] * SIZE)),
    "array.npy": _save_array,
    "weights.safetensors": lambda path, number: save_weights(_Holder(number), path),
    "last.ckpt": lambda path, number: CheckpointFiles().save_checkpoint(_tensors(number), path),
}
READERS: dict[str, Callable[[Path], Any]] = {
    "text.json": lambda path: np.array(json.loads(path.read_text())),
    "array.npy": lambda path: np.load(path, allow_pickle=False),
    "weights.safetensors": lambda path: load_file(path)["number"].numpy(),
    "last.ckpt": lambda path: torch.load(io.BytesIO(path.read_bytes()), weights_only=True)["number"].numpy(),
}


class _Holder(torch.nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(_tensors(number)["number"], requires_grad=False)


def _write_all(directory: Path, number: int) -> None:
    for name, write in WRITERS.items():
        write(directory / name, number)


def _write_for_ever(directory: Path) -> None:
    for number in itertools.count(1):
        _write_all(directory, number)


def torn_files(directory: Path, kills: int, until: float) -> tuple[int, list[str]]:
    """Kill a process that writes files without end, again and again, and read them after each kill.

    Returns:
        How often it was killed, and what was found wrong.
    """
    directory.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    _write_all(directory, 0)
    once = time.monotonic() - started
    draw, found, killed = random.Random(0), [], 0
    while killed < kills and time.monotonic() < until:
        writer = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(directory,))
        writer.start()
        time.sleep(draw.uniform(0.0, 2 * once))
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        killed += 1
        found += [f"kill {killed}: {said}" for name in READERS if (said := _torn(directory / name))]
        remove_leftovers(directory)
        found += [f"kill {killed}: {file.name} is left" for file in directory.glob(".*")]
    return killed, found


def _torn(path: Path) -> str | None:
    name = path.name
    if path.suffix == ".ckpt":  # where it was killed between the two renames, the one before counts
        path = newest_whole(path) or path
    try:
        values = READERS[name](path)
    except Exception as error:  # of any reader
        return f"{name} cannot be read ({error})"
    whole = values.shape == (SIZE,) and bool((values == values[0]).all())
    return None if whole else f"{name} is of two writings"


# ------------------------------------------------------------------------------------------------------------- the job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where runs and outcomes are kept")
    parser.add_argument("--kind", choices=KINDS, default="default")
    parser.add_argument("--runs", type=int, default=20, help="to kill, in all calls together (20)")
    parser.add_argument("--writers", type=int, metavar="KILLS", help="kill the writers of files alone, so often")
    parser.add_argument("--minutes", type=float, default=30.0, help="begin nothing new after these (30)")
    parser.add_argument("settings", nargs="*", help="more settings of train.py")
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # with the run that is at work
    if options.writers:
        killed, torn = torn_files(options.directory / "writers", options.writers, until)
        print(*torn, f"{killed} kills, {len(torn)} files torn or left", sep="\n")
        sys.exit(bool(torn))
    kills = Kills(options.directory / options.kind, [*EXACT, *KINDS[options.kind], *options.settings])
    outcomes = kills.go_on(options.runs, until)
    same, within = (sum(map(count, outcomes)) for count in (lambda o: not o.different, lambda o: o.within))
    print(
        f"{options.kind}: {same} of {len(outcomes)} the same bit for bit; {within} killed after a step within an epoch"
    )
    sys.exit(same < len(outcomes))


if __name__ == "__main__":
    main()
