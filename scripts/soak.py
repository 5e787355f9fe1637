"""Whether memory, open files and threads stay flat, and files grow linearly, over thousands of epochs.

    python scripts/soak.py DIR --epochs 2000 --minutes 30
    python scripts/soak.py DIR --generations 200 --epochs 2 --minutes 30    # many stages in place of many epochs

A run on a few digits is measured after each of its epochs into DIR/soak.jsonl. The same command goes on where time
ended it; each process is judged by itself. Exits with 1 where something grew. More settings of train.py may follow
behind `--`.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pytorch_lightning as pl
from hydra import compose, initialize_config_dir

from distill.cli import one_line_errors
from distill.experiment.pipeline import run
from distill.files import CONFIGS
from distill.signals import stop_on_signals

SETTLED = 100  # epochs of a process until caches are filled
LIMIT = 1.05  # of what there was by then
SETTINGS = ("trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.progress=false", "baseline=false",
            "data.student_fraction=0.05", "teacher.max_epochs=1", "preflight=false")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process took after so many of its epochs.

    process: its number. epoch: of this process, over all stages. seconds: of the epoch. memory: resident, in bytes.
    files: open handles. threads: of the process. written: bytes of TensorBoard's files and of the last checkpoint.
    """

    process: int
    epoch: int
    seconds: float
    memory: int
    files: int
    threads: int
    written: int


class Measure(pl.Callback):
    """Writes a Sample after each epoch of a run in `directory`; each stage has one of its own."""

    epoch, before = 0, time.monotonic()  # of the process, over all stages

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._file = self._directory.parent / "soak.jsonl"

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure."""
        now = time.monotonic()
        Measure.epoch += 1
        written = (f for part in ("tensorboard", "checkpoints") for f in (self._directory / part).rglob("*"))
        sample = Sample(
            process=os.getpid(),
            epoch=Measure.epoch,
            seconds=now - Measure.before,
            memory=int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            files=len(list(Path("/proc/self/fd").iterdir())),
            threads=len(list(Path("/proc/self/task").iterdir())),
            written=sum(file.stat().st_size for file in written if file.is_file()),
        )
        with self._file.open("a") as opened:
            opened.write(json.dumps(asdict(sample)) + "\n")
        Measure.before = time.monotonic()


def growth(samples: list[Sample]) -> list[str]:
    """What grew in one process, in words: memory, handles and threads since it had settled; seconds of an epoch and
    bytes written by an epoch, of its last quarter against its second."""
    settled = next((sample for sample in samples if sample.epoch == SETTLED), None)
    last, quarter = samples[-1], len(samples) // 4
    found = []
    for name in ("memory", "files", "threads") if settled else ():
        before, after = getattr(settled, name), getattr(last, name)
        if after > LIMIT * before:
            found.append(f"{name}: {before} after {SETTLED} epochs, {after} after {last.epoch}")
    if settled and quarter >= SETTLED:
        parts = [samples[quarter : 2 * quarter], samples[-quarter:]]
        seconds = [statistics.median(sample.seconds for sample in part) for part in parts]
        written = [(part[-1].written - part[0].written) / len(part) for part in parts]
        if seconds[1] > 2 * seconds[0]:  # the machine may have other work
            found.append(f"seconds of an epoch: {seconds[0]:.3f}, then {seconds[1]:.3f}")
        if written[1] > 1.2 * written[0]:
            found.append(f"bytes written in an epoch: {written[0]:.0f}, then {written[1]:.0f}")
    return found


def read(file: Path) -> dict[int, list[Sample]]:
    """The samples of each process."""
    by_process: dict[int, list[Sample]] = {}
    for line in file.read_text().splitlines():
        sample = Sample(**json.loads(line))
        by_process.setdefault(sample.process, []).append(sample)
    return by_process


def soak(directory: Path, settings: list[str], minutes: float) -> bool:
    """Train, or go on, until the end or for so long; returns whether the end was reached."""
    place = directory.resolve() / "run"
    begun = (place / "config.yaml").is_file()
    measured = f"+callbacks.soak={{_target_: soak.Measure, directory: '{place}'}}"
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [f"resume={place}", "trust=soak"] if begun else [measured, *SETTINGS, *settings])
    timer = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGTERM))  # as a user stops a run
    timer.daemon = True
    timer.start()
    try:
        one_line_errors(lambda: run(config, place), place)
    except SystemExit as end:
        if end.code != 128 + signal.SIGTERM:
            raise
        return False
    finally:
        timer.cancel()
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where the run and its samples are kept")
    parser.add_argument("--epochs", type=int, default=2000, help="of each stage (2000)")
    parser.add_argument("--generations", type=int, default=1, help="of students, a stage each (1)")
    parser.add_argument("--minutes", type=float, default=30.0, help="of this call (30)")
    parser.add_argument("settings", nargs="*", help="more settings of train.py")
    options = parser.parse_args()
    counts = [f"trainer.max_epochs={options.epochs}", f"generations={options.generations}"]
    options.directory.mkdir(parents=True, exist_ok=True)
    stop_on_signals()
    ended = soak(options.directory, [*counts, *options.settings], options.minutes)
    found = []
    for process, samples in read(options.directory / "soak.jsonl").items():
        first, last = samples[min(SETTLED, len(samples)) - 1], samples[-1]
        print(
            f"process {process}: epoch {first.epoch} to {last.epoch}: {first.memory / 1e6:.1f} to "
            f"{last.memory / 1e6:.1f} MB, {first.files} to {last.files} files, {first.threads} to {last.threads} "
            "threads"
        )
        found += growth(samples)
    print(*found, "ended" if ended else "time is up: the same command goes on", sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
