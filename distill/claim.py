"""Whose a directory is: each run has one for itself, however many start in the same second."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from distill.errors import SettingError

LOCK = ".lock"
PATIENCE = 6.0  # seconds; the data workers of a run that was killed hold on to its lock for up to 5


def new_directory(path: str) -> str:
    """Make a directory that no other run has, and return its path: `path`, or `path-1`, `path-2`, ...

    Raises:
        SettingError: this process is one of several that were started from outside, which must share a directory.
    """
    if _process() > 0 or int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise SettingError("hydra.run.dir is not set: processes started by torchrun or srun need hydra.run.dir=DIR")
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
    if _process() > 0:  # the first of them holds it for all
        yield
        return
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


def _process() -> int:
    """Which of several processes started from outside this one is; 0 where it is the only one."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0)))
