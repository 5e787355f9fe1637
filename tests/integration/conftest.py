"""Runs that several tests look at, and the two ways to make one: as a command, or in this process."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file
from torch import Tensor

from distill.cli import CONFIGS
from distill.experiment.pipeline import run

ROOT = Path(__file__).parents[2]
TINY = ("trainer.max_epochs=2", "teacher.max_epochs=2", "trainer.precision=32-true")

Command = Callable[..., subprocess.CompletedProcess[str]]
RunHere = Callable[..., Path]


@dataclass(frozen=True)
class FinishedCommand:
    directory: Path
    out: str
    err: str


@pytest.fixture(scope="session")
def command() -> Command:
    """Runs a script of the project: `command("train.py", "seed=1")`. Fails unless the exit status is the one given."""

    def execute(script: str, *arguments: str, status: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        # What importing the commands set in this process is not for theirs.
        inherited = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
        done = subprocess.run(
            [sys.executable, script, *arguments],
            cwd=ROOT, env={**inherited, **environment}, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"{script} {arguments}\n{done.stdout}\n{done.stderr}"
        return done

    return execute


@pytest.fixture(scope="session")
def finished(command: Command, tmp_path_factory: pytest.TempPathFactory) -> FinishedCommand:
    """The main job, as a user starts it for the first time, for two epochs a stage."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    no_fonts_known = str(tmp_path_factory.mktemp("matplotlib"))
    done = command("train.py", *TINY, f"hydra.run.dir={directory}", MPLCONFIGDIR=no_fonts_known)
    return FinishedCommand(directory, done.stdout, done.stderr)


@pytest.fixture
def run_here(tmp_path: Path) -> RunHere:
    """Runs the main job in this process, which spares seconds of imports: `run_here("seed=1", name="other")`."""

    def execute(*overrides: str, name: str = "run") -> Path:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("train", list(overrides))
        run(config, tmp_path / name)
        return tmp_path / name

    return execute


@pytest.fixture(scope="session")
def weights() -> Callable[[Path], dict[str, Tensor]]:
    """Reads a file of weights."""
    return load_file
