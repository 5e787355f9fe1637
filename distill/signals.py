"""Signals end a command at once and in one line, also where they reach all its processes."""

import os
import re
import signal
from types import FrameType
from typing import NoReturn

_received: list[signal.Signals] = []


class Stopped(BaseException):
    """SIGTERM came."""


def stop_on_sigterm() -> None:
    """SIGTERM raises Stopped from now on, as Ctrl-C raises KeyboardInterrupt: in Lightning's loops and outside them."""
    signal.signal(signal.SIGTERM, _stop)


def leave_on_signals() -> None:
    """For one of several processes of a run: end without a word, for the process that started it speaks."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def stopped_by(end: BaseException) -> signal.Signals | None:
    """Which signal ended the work, if one did.

    A signal to the whole process group also ends data workers and other processes of the run, and what is said of
    their deaths may come first. Lightning makes exit status 1 of Ctrl-C; what starts several processes has an exception
    of its own for both signals.
    """
    if isinstance(end, KeyboardInterrupt) or (
        isinstance(end, SystemExit) and end.code == 1 and isinstance(end.__context__, KeyboardInterrupt)
    ):
        return signal.SIGINT
    if type(end).__name__ == "SignalException":
        return signal.Signals(end.sigval)  # type: ignore[attr-defined]
    if isinstance(end, Stopped) or killed_worker(end) == "Terminated":
        return signal.SIGTERM
    return _received[0] if _received and not isinstance(end, SystemExit) else None


def killed_worker(error: BaseException) -> str | None:
    """The name of the signal that killed a data worker, if that is what the error tells."""
    chain: BaseException | None = error
    while isinstance(chain, Exception):
        found = re.search(r"DataLoader worker \(pid\(?s?\)? ?\d+\) is killed by signal: ([\w ]+)", str(chain))
        if found:
            return found[1].strip()
        chain = chain.__cause__ or chain.__context__
    return None


def _stop(number: int, frame: FrameType | None) -> None:
    if not _received:  # a second one must not disturb what the first has begun
        _received.append(signal.Signals(number))
        raise Stopped


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)
