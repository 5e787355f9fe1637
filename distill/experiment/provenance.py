"""How a run came about: its commands, the machine, and the commits of git that it ran from. For its report."""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from distill.data.module import cores
from distill.files import write_text
from distill.report.results import Provenance

FILE = "provenance.json"


def note_start(directory: Path, overrides: Sequence[str] = (), *, one_of_several: bool = False) -> None:
    """Keep how the run in `directory` starts, or goes on, here and now.

    overrides: the settings that are given. one_of_several: whether the command starts other jobs too.
    """
    before = provenance_of(directory)
    now = Provenance(
        commands=[*(before.commands if before else []), _command(overrides if one_of_several else None)],
        overrides=before.overrides if before else list(overrides),
        directory=str(Path.cwd()),
        machine=_machine(),
        commits=_commits(),
    )
    write_text(directory / FILE, json.dumps(asdict(now), indent=2) + "\n")


def provenance_of(directory: Path) -> Provenance | None:
    """What is kept of how the run in `directory` came about; None of runs that kept nothing."""
    file = directory / FILE
    return Provenance(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def _command(overrides: Sequence[str] | None) -> str:
    """As it was typed, but for the path of a console script; of one job of several as if it had been given alone."""
    _, program, *arguments = [*sys.orig_argv, "", ""]
    if program == "-m":
        start, arguments = ["python", "-m", arguments[0]], arguments[1:]
    else:
        start = ["python", program] if program.endswith(".py") else [Path(program).name]
    return shlex.join([*start, *(overrides if overrides is not None else filter(None, arguments))])


def _machine() -> dict[str, str]:
    found = {
        "CPU": _cpu(),
        "cores": str(cores()),
        "threads of torch": str(torch.get_num_threads()),
        "system": platform.platform(terse=True),
    }
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count())]
        found["GPU"] = ", ".join(dict.fromkeys(names)) + (f" ({len(names)} of them)" if len(names) > 1 else "")
    return found


def _cpu() -> str:
    """Its name, as /proc/cpuinfo has it, where there is such a file."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commits() -> dict[str, str]:
    here = Path(__file__)
    places = {"distill": (here.parent, here.name), "working directory": (Path.cwd(), None)}
    found = {whose: commit for whose, (place, file) in places.items() if (commit := _commit(place, file))}
    if found.get("working directory") == found.get("distill"):
        found.pop("working directory", None)
    return found


def _commit(place: Path, file: str | None) -> str | None:
    """The commit that is checked out in a directory; None outside a repository, or where it doesn't hold `file`."""
    if file is not None and _git(place, "ls-files", "--error-unmatch", file) is None:
        return None
    commit = _git(place, "rev-parse", "HEAD")
    changes = _git(place, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None else commit[:12] + (" with uncommitted changes" if changes else "")


def _git(place: Path, *arguments: str) -> str | None:
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(place), *arguments], capture_output=True, text=True, timeout=5, env=quiet, check=False
        )
    except (OSError, subprocess.TimeoutExpired):  # no git here
        return None
    return done.stdout.strip() if done.returncode == 0 else None
