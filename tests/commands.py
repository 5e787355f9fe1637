"""Processes of the project's commands: by an interpreter of their own, or forked from one that has imported them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TIMEOUT = 600.0  # seconds


def environment(**more: str) -> dict[str, str]:
    """The environment of a command: this process's, without what importing the commands set in it."""
    return {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"} | more


def run_anew(*arguments: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` in an interpreter of its own, which takes seconds to import."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd, env=env or environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip


class Process:
    """A forked process, as subprocess.Popen has it; what it says goes to files in memory."""

    def __init__(self, arguments: list[str], caller: socket.socket, out: int, err: int) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self._caller, self._files, self._said = caller, (out, err), ("", "")
        self.pid = int(self._told(TIMEOUT))

    def _told(self, timeout: float | None) -> bytes:
        self._caller.settimeout(timeout)
        message = self._caller.recv(64)
        if not message:
            raise RuntimeError("the process that forks the others has ended")
        return message

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            try:
                self.returncode = os.waitstatus_to_exitcode(int(self._told(timeout)))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._caller.close()
            self._said = _all_of(self._files[0]), _all_of(self._files[1])
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        return self._said

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _all_of(descriptor: int) -> str:
    """The text of a file, which is let go."""
    with open(descriptor, encoding="utf-8") as file:
        file.seek(0)
        return file.read()


class ForkServer:
    """Starts commands that need not import anything: see tests/fork_server.py."""

    def __init__(self, commands: socket.socket, launchers: socket.socket) -> None:
        self._commands, self._launchers = commands, launchers

    def start(
        self,
        *arguments: str,
        cwd: Path = ROOT,
        env: dict[str, str] | None = None,
        start_new_session: bool = False,
        spawns: int = 0,
        launches: int = 0,
    ) -> Process:
        """`python ARGUMENTS`, which are a script's or `-m` and a module's.

        Args:
            spawns: how many processes it spawns through multiprocessing that need not import anything either.
            launches: how many processes it starts as a launcher, which import what reads a launcher's variables.
        """
        request = {"arguments": arguments, "cwd": str(cwd), "env": env or environment(),
                   "start_new_session": start_new_session, "starts": spawns or launches}  # fmt: skip
        out, err = os.memfd_create("out"), os.memfd_create("err")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            server = self._launchers if launches else self._commands
            socket.send_fds(server, [json.dumps(request).encode()], [out, err, theirs.fileno()])
        return Process([sys.executable, *arguments], ours, out, err)

    def run(self, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """The process of `start`, once it has ended."""
        process = self.start(*arguments, **settings)
        try:
            out, err = process.communicate(TIMEOUT)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.wait(), out, err)

    def run_ranks(self, script: str, count: int, *arguments: str) -> None:
        """`python SCRIPT RANK ARGUMENTS` for each rank, side by side. Fails, and ends them all, with the first."""
        env = environment(PYTHONPATH=os.pathsep.join(sys.path))  # what this process finds, it finds
        processes = [self.start(script, str(rank), *arguments, env=env) for rank in range(count)]
        try:
            while None in (statuses := [process.poll() for process in processes]) and not any(statuses):
                time.sleep(0.02)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        assert statuses == [0] * count, [process.communicate() for process in processes]


@contextmanager
def fork_server() -> Iterator[ForkServer]:
    """It ends, and what it has forked with it, when the block does."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    ours, theirs = zip(*pairs, strict=True)
    numbers = [end.fileno() for end in theirs]
    command = [sys.executable, str(ROOT / "tests/fork_server.py"), *map(str, numbers)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    server = subprocess.Popen(
        command, cwd=ROOT, env=environment(PYTHONPATH=path), pass_fds=numbers, stdin=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    for end in theirs:
        end.close()
    with server, ours[0], ours[1]:
        yield ForkServer(*ours)
