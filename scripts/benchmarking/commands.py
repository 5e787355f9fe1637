"""`python train.py` as its users start it: its throughput, and how long it takes to start."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from distill.files import write_text

TRAIN = Path(__file__).parents[2] / "train.py"
PATIENCE = 0.005  # seconds between looks at whether a step was made


def trained(directory: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The summary.json of a run, started in the parent of its directory.

    Raises:
        RuntimeError: with what it printed, if it failed.
    """
    command = [sys.executable, str(TRAIN), *overrides, f"hydra.run.dir={directory}"]
    done = subprocess.run(command, cwd=directory.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    summary: dict[str, Any] = json.loads((directory / "summary.json").read_text())
    return summary


def seconds_to_help() -> float:
    """Of `python train.py --help`."""
    start = time.time()
    subprocess.run([sys.executable, str(TRAIN), "--help"], capture_output=True, check=True)
    return time.time() - start


def seconds_to_first_step(directory: Path, overrides: Sequence[str] = ()) -> float:
    """From `python train.py` to the end of its first training step; it is not let go on.

    Raises:
        RuntimeError: with what it printed, if it made none.
    """
    file = directory / "first_step"
    command = [sys.executable, str(TRAIN), *overrides, *watching(file), f"hydra.run.dir={directory}"]
    directory.mkdir()
    with (directory / "printed").open("w+") as printed:
        start = time.time()
        with subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT, cwd=directory) as process:
            while not file.exists() and process.poll() is None:
                time.sleep(PATIENCE)
            process.kill()
        if not file.exists():
            printed.seek(0)
            raise RuntimeError(f"{' '.join(command)} made no step:\n{printed.read()}")
    return float(file.read_text()) - start


def watching(file: Path) -> list[str]:
    """Settings by which a run writes down when its first step was done."""
    target = f"{FirstStep.__module__}.{FirstStep.__qualname__}"
    return [f"+callbacks.first_step._target_={target}", f"+callbacks.first_step.file={file}"]


class FirstStep(pl.Callback):
    """Writes down when the first training step of a run was done, in seconds since the epoch of `time.time`.

    Args:
        file: where to.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Only once."""
        if not self.file.exists():
            write_text(self.file, repr(time.time()))
