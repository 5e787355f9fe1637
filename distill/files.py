"""Where the configs lie, and writing files so that a reader never sees half of one."""

import os
from collections.abc import Callable
from pathlib import Path

_PACKAGE = Path(__file__).parent
CONFIGS = next(path for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if path.is_dir())


def path_of(setting: str | Path) -> Path:
    """The path that a setting names; ~ is the home directory."""
    return Path(setting).expanduser()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: `path` is old, or new and whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # as new files have it here; some writers leave theirs to the owner alone
        write(temporary)
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
