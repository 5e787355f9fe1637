"""Which signal ended a command, told from the exception that came of it; and whether a process is still there."""

import os
import signal
import subprocess
import sys

import pytest

from distill.signals import is_alive, killed_worker, stopped_by


def of_worker(name: str) -> RuntimeError:
    return RuntimeError(f"DataLoader worker (pid 8808) is killed by signal: {name}. ")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("end", "sent"),
    [
        (KeyboardInterrupt(), signal.SIGINT),
        (of_worker("Terminated"), signal.SIGTERM),
        (of_worker("Interrupt"), signal.SIGINT),
        (caused(RuntimeError("DataLoader worker (pid(s) 8808) exited unexpectedly"), of_worker("Terminated")),
         signal.SIGTERM),
        (of_worker("Killed"), None),
        (SystemExit(2), None),
        (RuntimeError("a fault of ours"), None),
    ],
)  # fmt: skip
def test_the_signal_is_told(end: BaseException, sent: signal.Signals | None) -> None:
    assert stopped_by(end) == sent


def test_a_worker_that_was_killed_for_want_of_memory_is_told() -> None:
    assert killed_worker(of_worker("Killed")) == "Killed"
    assert killed_worker(RuntimeError("a fault of ours")) is None


def test_an_error_that_was_raised_again_in_its_own_wake_is_no_worker() -> None:
    error, other = OSError("No space left on device"), RuntimeError("at the end of training")
    error.__context__, other.__context__ = other, error
    assert killed_worker(error) is None
    assert stopped_by(error) is None


def test_a_process_that_has_ended_and_was_not_asked_for_its_status_is_lost() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_alive(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays what it is
    assert not is_alive(process.pid)
    process.communicate()
    assert not is_alive(process.pid)
