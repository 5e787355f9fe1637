"""A process that has imported what the commands import, and forks one of its own for each command that a test starts.

Each is a real process: with its arguments, directory, environment, signals and exit status, and free of what tests did
to theirs. It spares the seconds that imports take. What is read from the environment by an import was read from that of
this process: HYDRA_FULL_ERROR needs an interpreter of its own. Lightning reads a launcher's variables so: launchers and
what they start are forked from another process, which has imported no more than the libraries below.

tests/commands.py starts both, as `python tests/fork_server.py FD FD`: the sockets that requests for commands and for
launchers come by, until they are closed.
"""

import atexit
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from multiprocessing import process, util
from pathlib import Path
from typing import Any

LIBRARIES = ("torchmetrics", "torchvision", "scipy.stats", "sklearn.datasets", "hydra", "torch.utils.tensorboard")
COMMANDS = (
    "distill.experiment.evaluate", "distill.experiment.export", "distill.experiment.fill_cache",
    "distill.experiment.pipeline", "distill.experiment.predict", "distill.report.compare",
)  # fmt: skip
LONGEST = 1 << 18  # bytes of a request
FORKABLE = {"jemalloc_bg_thd"}  # a thread that sees to forks itself
FREE = 200  # from here on no file descriptor is in use

Request = dict[str, Any]


def serve(requests: socket.socket) -> Request | None:
    """Fork a process for each request. Returns in each of them what it is to do, and None here at the end."""
    running: dict[int, tuple[int, socket.socket]] = {}  # by the file descriptor that tells of the process's end
    with selectors.DefaultSelector() as events:
        events.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.fileobj is requests:
                    message, given, *_ = socket.recv_fds(requests, LONGEST, 3)
                    if not message:
                        _end(pid for pid, _ in running.values())
                        return None
                    *streams, number = given
                    caller = socket.socket(fileno=number)
                    if (pid := os.fork()) == 0:
                        for ended, (_, other) in running.items():
                            os.close(ended)
                            other.close()
                        caller.close()
                        requests.close()
                        _place(streams, (1, 2))
                        request: Request = json.loads(message)
                        return request
                    for stream in streams:
                        os.close(stream)
                    ended = os.pidfd_open(pid)
                    running[ended] = pid, caller
                    events.register(ended, selectors.EVENT_READ)
                    _tell(caller, pid)
                else:
                    events.unregister(key.fd)
                    os.close(key.fd)
                    pid, caller = running.pop(key.fd)
                    with caller:
                        _tell(caller, os.waitpid(pid, 0)[1])


def _tell(caller: socket.socket, number: int) -> None:
    """Its pid at first, its wait status at last; a test that is over wants neither."""
    with suppress(BrokenPipeError, ConnectionResetError):
        caller.send(str(number).encode())


def _end(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _place(descriptors: Iterable[int], numbers: Iterable[int]) -> None:
    """Make these open file descriptors have those numbers."""
    moved = []
    for descriptor in descriptors:
        moved.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FREE))
        os.close(descriptor)
    for descriptor, number in zip(moved, numbers, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)


def become(request: Request, packages: list[str]) -> None:
    """Be the process that was asked for, `python SCRIPT ...` or `python -m MODULE ...`, up to its end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["start_new_session"]:
        os.setsid()
    os.chdir(request["cwd"])
    process.ORIGINAL_DIR = request["cwd"]  # as multiprocessing found it when it was imported
    os.environ.clear()
    os.environ.update(request["env"])
    arguments = request["arguments"]
    as_module = arguments[0] == "-m"
    path = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.orig_argv = [sys.executable, *arguments]
    sys.argv = arguments[as_module:]
    sys.path[:] = [str(Path.cwd()) if as_module else str(Path(sys.argv[0]).absolute().parent), *path, *packages]
    fork_early(request["starts"], packages)
    if as_module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


def fork_early(count: int, packages: list[str]) -> None:
    """Have the first Python processes that this one starts forked now, when nothing has run yet.

    By multiprocessing's "spawn", or by subprocess as `python SCRIPT ...`: these two functions start them.
    """
    waiting: list[tuple[int, socket.socket]] = []
    for _ in range(count):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if (pid := os.fork()) == 0:
            for other in (ours, *(end for _, end in waiting)):
                other.close()
            be_started(theirs, packages)
        theirs.close()
        waiting.append((pid, ours))
    spawn, fork_exec = util.spawnv_passfds, subprocess._fork_exec

    def start(told: Request, descriptors: list[int], numbers: list[int]) -> int:
        pid, end = waiting.pop(0)
        with end:
            socket.send_fds(end, [json.dumps({**told, "numbers": numbers}).encode()], descriptors)
        return pid

    def spawned(path: bytes, arguments: list[str], descriptors: list[int]) -> int:
        if not waiting or "--multiprocessing-fork" not in arguments:
            return spawn(path, arguments, descriptors)
        return start({"code": arguments[-2], "env": dict(os.environ)}, descriptors, descriptors)

    def executed(arguments: list[str], *rest: Any) -> int:
        _, _, _, cwd, env, _, _, _, out, _, err, *_ = rest
        first, *others = [argument for argument in map(os.fsdecode, arguments) if argument != "-u"]
        if not waiting or first != sys.executable or not others[0].endswith(".py"):
            return fork_exec(arguments, *rest)
        given = dict(map(os.fsdecode, pair.split(b"=", 1)) for pair in env) if env is not None else dict(os.environ)
        told = {
            "arguments": others,
            "env": given,
            "cwd": os.fsdecode(cwd or Path.cwd()),
            "start_new_session": False,
            "starts": 0,
        }
        return start(told, [1 if out < 0 else out, 2 if err < 0 else err], [1, 2])

    util.spawnv_passfds, subprocess._fork_exec = spawned, executed


def be_started(parent: socket.socket, packages: list[str]) -> None:
    """Wait until this process is started, and be that one up to its end."""
    with parent:
        message, descriptors, *_ = socket.recv_fds(parent, LONGEST, 16)
    if not message:  # fewer were
        os._exit(0)
    told = json.loads(message)
    _place(descriptors, told["numbers"])
    if "code" in told:
        os.environ.clear()
        os.environ.update(told["env"])
        sys.argv = ["-c", "--multiprocessing-fork"]
        exec(told["code"], {})
    else:
        become(told, packages)
    sys.exit()


def main() -> None:
    own = {str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    packages = [place for place in sys.path if place not in own]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and they end this
    commands, launchers = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    import_all(LIBRARIES)
    if (other := os.fork()) == 0:
        launchers.close()
        import_all(COMMANDS)
        request = serve(commands)
    else:
        commands.close()
        if (request := serve(launchers)) is None:
            os.waitpid(other, 0)
    if request is not None:
        end_with(partial(become, request, packages))


def end_with(work: Callable[[], None]) -> None:
    """End this process as the interpreter does, but without taking its modules apart: half a second for shared ones."""
    status = 0
    try:
        work()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if status != end.code and end.code is not None:
            print(end.code, file=sys.stderr)
    except Exception:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def import_all(names: Iterable[str]) -> None:
    for name in names:
        importlib.import_module(name)
    threads = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    assert len([name for name in threads if name not in FORKABLE]) == 1, f"{threads} cannot be forked safely"
    gc.freeze()  # what is here now stays, and is shared


if __name__ == "__main__":
    main()
