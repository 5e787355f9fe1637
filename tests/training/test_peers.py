"""Whether another process of a run is still there."""

import os
import subprocess
import sys

from distill.training.peers import _alive


def test_a_process_that_has_ended_and_was_not_asked_for_its_status_is_lost() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert _alive(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays what it is
    assert not _alive(process.pid)
    process.communicate()
    assert not _alive(process.pid)
