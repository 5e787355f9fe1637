"""Processes that torchrun, SLURM or another launcher started together: the first decides, the others follow it.

They meet at the launcher's MASTER_ADDR and MASTER_PORT, in the store that torch.distributed uses itself. The first one
reads the settings, examines the run and tells the others its directory; then all train, and end with its exit status.
"""

import json
import logging
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import ClassVar, NoReturn

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lsf import LSFEnvironment
from lightning_fabric.plugins.environments.mpi import MPIEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed import DistError
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from distill.errors import KilledError, SettingError, first_line
from distill.signals import handle_signals, is_alive
from distill.versions import installed

log = logging.getLogger("distill")

MEETING = 120.0  # seconds that processes of one start may be apart
LEAVING = 10.0  # seconds that the first one waits for the others at its end
NOTICE = 2.0  # seconds until the end of a process is known to the others
POLL = 0.05  # seconds between two looks

SAME = ("torch", "pytorch-lightning", "distill")  # packages whose versions must agree


def launcher() -> ClusterEnvironment | None:
    """What tells this process of those that were started with it, as Lightning finds it; None where it is alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that srun is there and not used; Lightning says so again
        for kind in (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment):
            if kind.detect():
                environment = kind()
                return environment if environment.world_size() > 1 else None
    return None


class Peers:
    """What this process knows of those that were started with it.

    Args:
        environment: of the launcher.

    Raises:
        SettingError: they cannot meet.
    """

    met: ClassVar["Peers | None"] = None  # of this process, where it is not alone

    def __init__(self, environment: ClusterEnvironment) -> None:
        self.rank, self.world_size = environment.global_rank(), environment.world_size()
        self.directory: Path | None = None  # of the run, once it has begun
        self._store = PrefixStore("distill", _meet(environment))
        self._present: dict[int, tuple[str, int]] = {}
        Peers.met = self
        me = {"host": socket.gethostname(), "pid": os.getpid(), "versions": {name: installed(name) for name in SAME}}
        self._store.set(f"present/{self.rank}", json.dumps(me))

    # The first process.

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Around all that the first process does: however it ends, the others end with the same exit status."""
        status: int | str | None = 1
        try:
            yield
            status = 0
        except SystemExit as end:
            status = 0 if end.code is None else end.code
            raise
        finally:
            with suppress(DistError):
                self._store.set("end", str(status if isinstance(status, int) else 1))
                self._wait(lambda: self._store.add("left", 0) >= self.world_size - 1 or self._lost(), LEAVING)

    def start(self, directory: Path) -> None:
        """Have the others follow into the directory of a run.

        Raises:
            SettingError: one of them is missing, has other versions, or does not see the directory.
        """
        self.directory = directory
        self._store.set("directory", str(directory.absolute()))
        for rank in range(1, self.world_size):
            self._until_ready(rank)

    def _until_ready(self, rank: int) -> None:
        key = f"ready/{rank}"
        come = self._wait(lambda: self._told(key, "failure") or self._lost(), MEETING)
        if failed := self.failure(wait=0):
            raise failed
        if not come:
            raise SettingError(
                f"process {rank} of {self.world_size} has not come within {MEETING:.0f} s: start all of them, with "
                "torchrun or srun"
            )
        if trouble := json.loads(self._store.get(key)):
            raise SettingError(trouble)

    # The others.

    def follow(self, worker: Callable[[Path], None], mistake: Callable[[BaseException], str | None]) -> int:
        """What the other processes do in place of the command: `worker(directory)`, if the first one starts a run.

        Args:
            worker: a process's part of it.
            mistake: what a user's mistake says in one line; None for an exception that is none.

        Returns:
            The first process's exit status.
        """
        handle_signals(self._leave)
        try:
            self._wait(lambda: self._told("directory", "end"))
            if not self._told("end"):
                self._follow_into(Path(self._store.get("directory").decode()), worker)
            return self._ended()
        except (Exception, SystemExit) as error:
            line = mistake(error)
            # What breaks off when another process ends is no fault of this one.
            if line is None and (self._wait(lambda: self._told("end", "failure") or self._lost(), NOTICE)):
                return self._ended()
            line = line or f"{type(error).__name__}: {first_line(error)}"
            self.tell_failure(line, "".join(traceback.format_exception(error)))
            return 2

    def _follow_into(self, directory: Path, worker: Callable[[Path], None]) -> None:
        self.directory = directory
        first, me = (json.loads(self._store.get(f"present/{rank}")) for rank in (0, self.rank))
        trouble = ""
        if not (directory / "config.yaml").is_file():
            trouble = (
                f"hydra.run.dir={directory}: process {self.rank} of {self.world_size}, on {me['host']}, finds no run "
                "there; give a directory that all machines share"
            )
        elif differs := [name for name in SAME if first["versions"][name] != me["versions"][name]]:
            there, here = (told["versions"][differs[0]] for told in (first, me))
            trouble = f"{differs[0]} is {there} on {first['host']} and {here} on {me['host']}; install one version"
        self._store.set(f"ready/{self.rank}", json.dumps(trouble))
        if not trouble:
            worker(directory)

    def _ended(self) -> int:
        """Wait for the first process; its exit status."""
        self._wait(lambda: self._told("end") or self._lost())
        if not self._told("end"):
            return self._say_who_is_lost() or 1
        status = int(self._store.get("end"))
        self._store.add("left", 1)
        return status

    def _leave(self, number: int, frame: FrameType | None) -> NoReturn:
        """A signal ends this process without a word, unless the first one is lost, which would have spoken."""
        with suppress(BaseException):
            if not self._told("end"):
                self._say_who_is_lost()
            self._store.set(f"gone/{self.rank}", signal.Signals(number).name)
        os._exit(128 + number)

    def _say_who_is_lost(self) -> int | None:
        """Exit status 1 if the first process is lost; the first of those that are left says so."""
        lost = self._lost()
        if 0 not in lost:
            return None
        if self.rank == min(set(range(self.world_size)) - set(lost)):
            print(f"error: {self._killed(0)}", file=sys.stderr, flush=True)
        return 1

    # All.

    def tell_failure(self, line: str, trace: str = "") -> None:
        """Let the others know what ends this process; the first one says it by itself, and what ends the others."""
        failed = {"rank": self.rank, "line": line, "traceback": trace}
        with suppress(DistError):
            self._store.compare_set("failure", "", json.dumps(failed))
            if self.rank == 0:
                print(f"error: process 0 of {self.world_size} failed: {line}", file=sys.stderr, flush=True)
                self._store.set("end", "2")
                self._wait(lambda: self._store.add("left", 0) >= self.world_size - 1, LEAVING)

    def failure(self, wait: float = NOTICE) -> Exception | None:
        """What is to be said if another process failed or was killed; None if none did within so many seconds."""
        self._wait(lambda: self._told("failure") or self._lost(), wait)
        if self._told("failure"):
            failed = json.loads(self._store.get("failure"))
            log.info(failed["traceback"])
            return SettingError(f"process {failed['rank']} of {self.world_size} failed: {failed['line']}")
        lost = self._lost()
        return KilledError(self._killed(min(lost))) if lost else None

    def _killed(self, rank: int) -> str:
        goes_on = f"; go on with resume={self.directory}" if self.rank and self.directory else ""
        return f"process {rank} of {self.world_size} was killed, perhaps for want of memory{goes_on}"

    def _told(self, *keys: str) -> bool:
        """Whether one of these has been said. Where the store is lost with the first process, nothing has."""
        try:
            return any(self._store.check([key]) for key in keys)
        except DistError:
            return False

    def _lost(self) -> list[int]:
        """Those on this machine that ended without a word."""
        for rank in set(range(self.world_size)) - set(self._present):
            if self._told(f"present/{rank}"):
                told = json.loads(self._store.get(f"present/{rank}"))
                self._present[rank] = (told["host"], told["pid"])
        here = socket.gethostname()
        dead = [rank for rank, (host, pid) in self._present.items() if host == here and not is_alive(pid)]
        return sorted(rank for rank in dead if not self._told(f"gone/{rank}"))

    @staticmethod
    def _wait(happened: Callable[[], object], seconds: float = float("inf")) -> bool:
        """Wait until something has happened, in steps, so that signals are heeded; whether it has."""
        until = time.monotonic() + seconds
        while not happened():
            if time.monotonic() >= until:
                return False
            time.sleep(POLL)
        return True


def _meet(environment: ClusterEnvironment) -> Store:
    """The store at the launcher's address and port; it lives as long as the first process or torchrun."""
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
    rank, processes = environment.global_rank(), environment.world_size()
    try:
        store: Store = next(rendezvous("env://", rank, processes, timeout=timedelta(seconds=MEETING)))[0]
    except (DistError, RuntimeError) as error:
        place = f"MASTER_ADDR={environment.main_address} MASTER_PORT={environment.main_port}"
        if "EADDRINUSE" in str(error) or "address already in use" in str(error):
            raise SettingError(f"{place}: the port is in use; set MASTER_PORT to another") from error
        raise SettingError(
            f"{place}: process {rank} of {processes} cannot meet the others: {first_line(error)}"
        ) from error
    return store
