"""How commands end: with one line for what is a user's to mend, and an exit status that tells what it was."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from distill.errors import KilledError, SettingError, explain
from distill.files import CONFIGS, FULL
from distill.signals import end_children, ignore_signals, killed_worker, stopped_by

T = TypeVar("T")

FULL_ERROR = "HYDRA_FULL_ERROR"
DEBUGGING = os.environ.get(FULL_ERROR) == "1"


def one_line_errors(command: Callable[[], T], run: Path | None = None) -> T:
    """A user's mistake ends in one line and exit status 2; HYDRA_FULL_ERROR=1 shows the traceback instead.

    So does a loss that is not finite, which is a setting's fault too, and a file that can't be read or written. Around
    the commands for what Hydra finds, and around the work itself so that Hydra adds no lines of its own. A process of
    the run that was killed ends it in one line too, with status 1.

    What Ctrl-C, SIGTERM or SIGUSR1 ends, ends in one line that says how to go on with `run`, if that has begun, with
    status 130, 143 or 138.
    """
    given = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"  # Hydra hands its errors on instead of printing them its own way
    try:
        return command()
    except BaseException as end:
        number, line = stopped_by(end), mistake(end)
        if line is None and not isinstance(end, SystemExit) and (failure := _failure_of_another()):
            number, line, end = None, mistake(failure), failure  # which broke off this process's work
        goes_on = f"; go on with resume={run}" if run is not None and (run / "config.yaml").is_file() else ""
        if DEBUGGING or (number is None and line is None):
            raise
        if number is not None:
            print(f"stopped by {number.name}{goes_on}", file=sys.stderr)
            end_children()
            ignore_signals()  # the process ends already
            sys.exit(128 + number)
        killed = isinstance(end, KilledError) or killed_worker(end)
        full = any(os.strerror(code) in str(line) for code in FULL)
        print(f"error: {line}{goes_on if killed or full else ''}", file=sys.stderr)
        sys.exit(1 if killed else 2)
    finally:
        if given is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = given


def _failure_of_another() -> Exception | None:
    """What ended another process of the run before this one, if there are others and one did."""
    peers = sys.modules.get("distill.training.peers")
    if peers is None or peers.Peers.met is None:
        return None
    ignore_signals()
    failure: Exception | None = peers.Peers.met.failure()
    return failure


def mistake(error: BaseException) -> str | None:
    """The one line for a user's mistake; None for what is none."""
    if name := killed_worker(error):
        return f"data.workers: a process that decodes images was killed ({name}); if memory ran out, give fewer workers"
    known = (
        SettingError, FloatingPointError, OSError, HydraException, OmegaConfBaseException, MarkedYAMLError, KilledError,
    )  # fmt: skip
    hydras = isinstance(error, ValueError) and str(error).startswith("Config group override must be")
    return explain(error, CONFIGS) if (isinstance(error, known) or hydras) and not DEBUGGING else None
