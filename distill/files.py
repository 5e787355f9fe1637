"""Where the configs lie, and writing files so that a reader never sees half of one."""

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from distill.signals import is_alive

_PACKAGE = Path(__file__).parent
CONFIGS = next(path for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if path.is_dir())
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, what this user may have of it, what one file may hold


def path_of(setting: str | Path) -> Path:
    """The path that a setting names; ~ is the home directory."""
    return Path(setting).expanduser()


def write_atomically(path: Path, write: Callable[[Path], object], keep: Path | None = None) -> None:
    """Let `write` fill a file in a temporary folder beside `path`, then rename it: `path` is old, or new and whole.

    A folder, for some writers make temporary files of their own beside what they write.

    Args:
        path: what is written.
        write: is given the temporary file.
        keep: where a file that was at `path` goes, on the same file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary = folder / f"new{path.suffix}"
    try:
        folder.mkdir(exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode  # as new files have it here; some writers leave theirs to the owner alone
        write(temporary)
        temporary.chmod(mode)
        _bring_to_disk(temporary)
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bring_to_disk(file: Path) -> None:
    """Else a power loss may leave the new name and none of the content."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def remove_leftovers(directory: Path) -> None:
    """Remove what processes that are gone left of their writing, in or below a directory: `.NAME.PROCESS.tmp`."""
    for left in list(directory.rglob(".*.tmp")):
        found = re.fullmatch(r"\..+\.(\d+)\.tmp", left.name)
        if found and not is_alive(int(found[1])):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
