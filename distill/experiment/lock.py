"""Locks a run's directory, so that each run has its own even if several start in the same second."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from distill.errors import SettingError, quoted

LOCK = ".lock"
PATIENCE = 6.0  # seconds; the data workers of a run that was killed hold on to its lock for up to 5


class Directories(Callback):
    """Hydra's callback before a run or a sweep: a directory that is named by the time alone is made for it anew."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Of a run."""
        if _by_time(config.hydra.run):
            with read_write(config), open_dict(config):
                config.hydra.run.dir = new_directory(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Of a sweep; its jobs compose their settings anew, from what it was told of Hydra's."""
        if _by_time(config.hydra.sweep):
            directory = new_directory(config.hydra.sweep.dir)
            with read_write(config), open_dict(config):
                config.hydra.sweep.dir = directory
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(directory)}")


def new_directory(path: str) -> str:
    """Make a directory that no other run has, and return its path: `path`, or `path-1`, `path-2`, ..."""
    for number in itertools.count():
        directory = Path(f"{path}-{number}" if number else path)
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        return str(directory)
    raise AssertionError("there is always another number")


@contextmanager
def held(directory: Path, setting: str) -> Iterator[None]:
    """Hold a directory while a run works in it. The system lets go of it when the process ends, however it ends.

    Args:
        directory: of the run.
        setting: that led here, for the message.

    Raises:
        SettingError: another process works there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=PATIENCE if setting == "resume" else 0)
    except Timeout:
        raise SettingError(
            f"{setting}={directory}: another run is at work there; wait until it has ended, or give this one a "
            "directory of its own with hydra.run.dir=DIR"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _by_time(node: Any) -> bool:
    return "${now:" in str(OmegaConf.to_container(node, resolve=False)["dir"])  # type: ignore[call-overload, index]
