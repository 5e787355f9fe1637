"""One process a device, on this machine: starts them, and says which one failed."""

import logging
import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from distill.data.module import cores
from distill.errors import KilledError, SettingError
from distill.signals import STOPS
from distill.training.hardware import Hardware

log = logging.getLogger("distill")

FINISHING = 300  # seconds that processes may take for a step and a checkpoint after a signal
THREADS = "OMP_NUM_THREADS"


def processes_to_start(hardware: Hardware) -> int:
    """How many processes this one must start: 0 where it runs alone, or was itself started as one of many (by us,
    torchrun, SLURM, ...)."""
    environment = hardware.environment
    if environment is None or environment.creates_processes_externally or hardware.world_size == 1:
        return 0
    if hardware.nodes > 1:
        raise SettingError(f"trainer.num_nodes={hardware.nodes}: start every node's processes with torchrun or SLURM")
    if hardware.device.type == "cpu" and hardware.devices > cores():
        raise SettingError(
            f"trainer.devices={hardware.devices}: so many processes would only wait for each other on the {cores()} "
            f"cores that there are; give trainer.devices={cores()} or fewer"
        )
    return hardware.devices


def launch(worker: Callable[[Path], None], directory: Path, processes: int) -> None:
    """Call `worker(directory)` in so many processes, each with the environment variables of torchrun.

    Raises:
        SettingError: one of them failed; all are ended.
        KilledError: one was killed; all are ended.
    """
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        start_method="spawn",
        max_restarts=0,
        signals_to_handle=",".join(number.name for number in STOPS),
        shutdown_timeout=FINISHING,
    )
    # A signal ends the processes before they have put everything away; what counts it says so at length.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
    # Its own account of a failure is a page of traceback; ours is the one line below, and the log has the rest.
    for name in ("torch.distributed.elastic", "torch.multiprocessing"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("torch.distributed.elastic.agent.server.api").disabled = True  # has a level of its own
    given = os.environ.get(THREADS)
    os.environ[THREADS] = given or str(max(1, cores() // processes))  # each process would take all cores
    try:
        elastic_launch(settings, worker)(directory)
    except ChildFailedError as error:
        rank, failure = min(error.failures.items(), key=lambda item: item[1].timestamp)
        if failure.exitcode < 0:
            raise KilledError(
                f"process {rank} of {processes} was killed ({signal.Signals(-failure.exitcode).name})"
            ) from error
        message: Any = failure.message
        if isinstance(message, dict):
            log.info(message.get("extraInfo", {}).get("py_callstack", ""))
            message = message.get("message", "")
        for kind in ("SettingError: ", "FloatingPointError: "):
            message = message.removeprefix(kind)
        raise SettingError(f"process {rank} of {processes} failed: {message}") from error
    finally:
        if given is None:
            del os.environ[THREADS]
