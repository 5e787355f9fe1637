"""What tests fork behaves as what they would start, and outlives those that fail."""

import os
import signal
from pathlib import Path

import pytest
from commands import ForkServer, environment, run_anew

SAYS = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ.get("GIVEN"), sys.path[0], __name__)
print("to stderr", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""

STARTS = """
import multiprocessing, os, subprocess, sys

def say(number):
    print("spawned", number, os.getppid() == int(sys.argv[1]), flush=True)

if __name__ == "__main__":
    sys.argv[1:] = [str(os.getpid())]
    spawned = multiprocessing.get_context("spawn").Process(target=say, args=(7,))
    spawned.start()
    spawned.join()
    print(spawned.exitcode, subprocess.run([sys.executable, "says.py", "3"], env={"GIVEN": "x"}).returncode)
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    (tmp_path / "says.py").write_text(SAYS)
    (tmp_path / "starts.py").write_text(STARTS)
    return tmp_path


def test_a_forked_command_is_as_one_in_an_interpreter_of_its_own(forks: ForkServer, scripts: Path) -> None:
    for status in ("0", "3"):
        settings = {"cwd": scripts, "env": environment(GIVEN="this")}
        forked, started = (run("says.py", status, **settings) for run in (forks.run, run_anew))
        assert (forked.returncode, forked.stdout, forked.stderr) == (int(status), started.stdout, started.stderr)
    assert "GIVEN" not in os.environ


@pytest.mark.parametrize("early", [{}, {"spawns": 1}, {"launches": 2}])
def test_processes_that_it_starts_are_its_own(early: dict[str, int], forks: ForkServer, scripts: Path) -> None:
    done = forks.run("starts.py", cwd=scripts, **early)
    assert (done.returncode, done.stderr) == (0, "to stderr\n")
    assert sorted(done.stdout.splitlines()) == sorted(
        ["spawned 7 True", f"['3'] {scripts} x {scripts} __main__", "0 3"]
    )


def test_one_that_fails_or_is_killed_leaves_the_others(forks: ForkServer, scripts: Path) -> None:
    (scripts / "sleeps.py").write_text("import time; time.sleep(600)")
    (scripts / "fails.py").write_text("print('said'); 1 / 0")
    sleeping = forks.start("sleeps.py", cwd=scripts, start_new_session=True)
    failed = forks.run("fails.py", cwd=scripts)
    assert (failed.returncode, failed.stdout) == (1, "said\n")
    assert failed.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert forks.run("missing.py", cwd=scripts).returncode == 1
    assert sleeping.poll() is None
    os.killpg(sleeping.pid, signal.SIGTERM)
    assert sleeping.wait() == -signal.SIGTERM
    assert forks.run("says.py", "0", cwd=scripts).returncode == 0
