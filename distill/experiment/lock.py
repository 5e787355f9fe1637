"""Locks a run's directory, so that each run has its own even if several start in the same second."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from distill.config.overrides import with_home
from distill.errors import SettingError, quoted
from distill.experiment.resume import AUTO, newest_unfinished

LOCK = ".lock"
NOW = "${now:"  # in the name of a directory
PATIENCE = 6.0  # seconds; the data workers of a run that was killed hold on to its lock for up to 5


class Directories(Callback):
    """Hydra's callback before a run or a sweep: a directory that is named by the time alone is made for it anew.

    With `resume=auto` a run whose directory is named by the time looks among those beside it for one to go on with.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Of a run."""
        if not _by_time(config.hydra.run):
            return
        found = (
            newest_unfinished(with_home(config), _beside(config.hydra.run)) if config.get("resume") == AUTO else None
        )
        with read_write(config), open_dict(config):
            if found is None:
                config.hydra.run.dir = new_directory(config.hydra.run.dir)
            else:
                print(f"resume=auto: goes on with {found}", flush=True)
                config.resume, config.hydra.run.dir, config.hydra.output_subdir = str(found), ".", None

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
    return NOW in _as_written(node)


def _as_written(node: Any) -> str:
    return str(OmegaConf.to_container(node, resolve=False)["dir"])  # type: ignore[call-overload, index]


def _beside(node: Any) -> Iterator[Path]:
    """All directories that may have been named by other times."""
    written = _as_written(node)
    above = Path(written.partition(NOW)[0] + "_").parent
    depth = len(Path(node.dir).parts) - len(above.parts)
    return above.glob("/".join("*" * depth))
