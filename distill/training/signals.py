"""Signals end a command at once and in one line, also where they reach all its processes."""

import os
import re
import signal
import sys
from types import FrameType
from typing import NoReturn

AGAIN = 5.0  # seconds until work that goes on after a signal is stopped again

ENDS = {"Terminated": signal.SIGTERM, "Interrupt": signal.SIGINT}  # by what is said of a worker that got them

_received: list[signal.Signals] = []


class Stopped(BaseException):
    """A signal came."""


def stop_on_signals() -> None:
    """SIGTERM raises Stopped from now on, as Ctrl-C raises KeyboardInterrupt.

    Within its loops Lightning is left to raise its own exception for SIGTERM after the batch. An exception that comes
    out of the blue may get lost, in a finalizer or in code that catches everything: then it comes again, until
    `stopped_by`.
    """
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a data worker that is only just being forked
            _leave(number, frame)
        first = not _received
        if first:
            _received.append(signal.Signals(number))
            signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # data workers that got it too are no news
            sys.unraisablehook = lambda _: None
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if first and signal.getsignal(signal.SIGTERM) is stop:  # else Lightning calls it, and raises for itself
            raise Stopped

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, _stop_again)
    os.register_at_fork(after_in_child=_end_without_a_word)


def leave_on_signals() -> None:
    """For one of several processes of a run: end without a word, for the process that started it speaks."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def ignore_signals() -> None:
    """For a process that ends already, and has yet to say why: a launcher that ends it too would cut that off."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def leave_as_before() -> None:
    """`leave_on_signals` again, if it was called: by now Lightning has the processes tell each other of a signal."""
    if signal.getsignal(signal.SIGINT) is _leave:  # which Lightning leaves alone
        leave_on_signals()


def stopped_by(end: BaseException) -> signal.Signals | None:
    """Which signal ended the work, if one did.

    A signal to the whole process group also ends data workers and other processes of the run, and what is said of
    their deaths may come first. Lightning makes exit status 1 of Ctrl-C; what starts several processes has an exception
    of its own for both signals.
    """
    signal.setitimer(signal.ITIMER_REAL, 0)
    if isinstance(end, KeyboardInterrupt) or (
        isinstance(end, SystemExit) and end.code == 1 and isinstance(end.__context__, KeyboardInterrupt)
    ):
        return signal.SIGINT
    if type(end).__name__ == "SignalException":
        return signal.Signals(end.sigval)  # type: ignore[attr-defined]
    if type(end).__name__ == "SIGTERMException":
        return signal.SIGTERM
    if not _received and (sent := ENDS.get(killed_worker(end) or "")):
        return sent
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


def _stop_again(number: int, frame: FrameType | None) -> None:
    raise Stopped


def _end_without_a_word() -> None:
    """For a forked process: data workers hand their errors to the one that forked them, and end with it.

    One that hangs, as one may that inherits a lock, must not wait for Python to handle a signal.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    sys.excepthook = lambda *_: None  # where tensors are shared, a connection that is cut is told by this


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)
