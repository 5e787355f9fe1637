"""Signals end a command in one line, also where they reach all its processes.

Within training the step of the optimizer is finished and a checkpoint written first; a second signal ends it at once.
"""

import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Ctrl-C; kill and SLURM's scancel; what SLURM is told to send
AGAIN = 5.0  # seconds until work that goes on after a signal is stopped again
APART = 1.0  # seconds: a signal that comes sooner after the first is the same one, passed on by a launcher

ENDS = {"Terminated": signal.SIGTERM, "Interrupt": signal.SIGINT}  # by what is said of a worker that got them

Handler = Callable[[int, FrameType | None], object]

_received: list[signal.Signals] = []
_asked: list[tuple[signal.Signals, float]] = []  # what came while steps are finished first, and when
_handlers: dict[int, Handler] = {}  # this process's own; Lightning puts others over them


class Stopped(BaseException):
    """A signal came."""


def handle_signals(handler: Handler) -> None:
    """Call it for each of STOPS from now on."""
    for number in STOPS:
        _handlers[number] = handler
    take_back_signals()


def take_back_signals() -> None:
    """Undo what Lightning, or `finish_steps_first`, made of the signals; nothing where they are not this package's."""
    for number, handler in _handlers.items():
        signal.signal(number, handler)


def finish_steps_first() -> None:
    """A first signal is only noted from now on, until `take_back_signals`: `asked_to_stop` tells of it.

    A second one does what the first would have done.
    """
    process = os.getpid()

    def note(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a data worker that is only just being forked
            _leave(number, frame)
        now = time.monotonic()
        if not _asked:
            _asked.append((signal.Signals(number), now))
            _workers_may_end()
        elif now - _asked[0][1] >= APART:
            stop_as_asked(number)

    for number in _handlers:
        signal.signal(number, note)


def asked_to_stop() -> int:
    """The number of the signal that was noted; 0 for none."""
    return _asked[0][0] if _asked else 0


def stop_as_asked(number: int) -> None:
    """Do now what a signal does where no step is to be finished."""
    take_back_signals()
    if number in _handlers:
        _handlers[number](number, None)


def _workers_may_end() -> None:
    """Data workers that got the signal too are no news."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def stop_on_signals() -> None:
    """SIGTERM and SIGUSR1 raise Stopped from now on, as Ctrl-C raises KeyboardInterrupt; a second one ends the process.

    An exception that comes out of the blue may get lost, in a finalizer or in code that catches everything: then it
    comes again, until `stopped_by`.
    """
    process, came = os.getpid(), 0.0

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a data worker that is only just being forked
            _leave(number, frame)
        nonlocal came
        if _received and time.monotonic() - came >= APART:
            print(f"stopped at once by a second {signal.Signals(number).name}", file=sys.stderr, flush=True)
            end_children()
            _leave(number, frame)
        first = not _received
        if first:
            came = time.monotonic()
            _received.append(signal.Signals(number))
            signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
            _workers_may_end()
            sys.unraisablehook = lambda _: None
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if first:
            raise Stopped

    handle_signals(stop)
    signal.signal(signal.SIGALRM, _stop_again)
    os.register_at_fork(after_in_child=_end_without_a_word)


def leave_on_signals() -> None:
    """For one of several processes of a run: end without a word, for the process that started it speaks."""
    handle_signals(_leave)


def ignore_signals() -> None:
    """For a process that ends already, and has yet to say why: a launcher that ends it too would cut that off."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


def ignore_in_worker(worker: int) -> None:
    """For a data worker: the process that it works for decides, and may want batches yet. It ends with that process."""
    ignore_signals()


def end_children() -> None:
    """End the processes that this one started, so that its own end waits for none of them."""
    for child in multiprocessing.active_children():
        child.kill()


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
    seen: list[BaseException] = []  # an error that was raised again may come after itself
    while isinstance(chain, Exception) and chain not in seen:
        seen.append(chain)
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
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)
    sys.excepthook = lambda *_: None  # where tensors are shared, a connection that is cut is told by this


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)


def is_alive(process: int) -> bool:
    """Whether there is a process of this number on this machine, of any user, that has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    with suppress(OSError):  # on Linux: one that has ended counts as there until its parent asks for its status
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
