"""Runs that several tests look at, and the two ways to make one: as a command, or in this process."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import ForkServer, environment, run_anew
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file
from torch import Tensor

from distill.cli import CONFIGS
from distill.experiment.pipeline import run

TINY = ("trainer.max_epochs=2", "teacher.max_epochs=2", "trainer.precision=32-true")

Done = subprocess.CompletedProcess[str]
Command = Callable[..., Done]
RunHere = Callable[..., Path]


@dataclass(frozen=True)
class FinishedCommand:
    directory: Path
    out: str
    err: str


@pytest.fixture(scope="session")
def command(forks: ForkServer) -> Command:
    """Runs a script of the project: `command("train.py", "seed=1")`. Fails unless the exit status is the one given.

    `spawns` is how many processes the script starts: `command("train.py", "trainer.devices=2", ..., spawns=2)`.
    """

    def execute(script: str, *arguments: str, status: int = 0, spawns: int = 0, **more: str) -> Done:
        return checked(forks.run(script, *arguments, env=environment(**more), spawns=spawns), status)

    return execute


@pytest.fixture(scope="session")
def new_command() -> Command:
    """As `command`, but by an interpreter of its own, which imports everything as a user's does."""

    def execute(script: str, *arguments: str, status: int = 0, **more: str) -> Done:
        return checked(run_anew(script, *arguments, env=environment(**more)), status)

    return execute


def checked(done: Done, status: int) -> Done:
    assert done.returncode == status, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def finished(new_command: Command, tmp_path_factory: pytest.TempPathFactory) -> FinishedCommand:
    """The main job, as a user starts it for the first time, for two epochs a stage."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    no_fonts_known = str(tmp_path_factory.mktemp("matplotlib"))
    done = new_command("train.py", *TINY, f"hydra.run.dir={directory}", MPLCONFIGDIR=no_fonts_known)
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
