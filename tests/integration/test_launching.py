"""Each way to start several processes, on the CPU: they are one run, which learns the same however it was started."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import ROOT, ForkServer, Process, environment, run_anew
from torch import Tensor

from distill.errors import SettingError

TRAIN = str(ROOT / "train.py")
# 32-true, one thread: the same to the last bit.
TINY = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.max_epochs=1",
        "teacher.max_epochs=0", "baseline=false", "preflight=false", "logger=none")  # fmt: skip
Start = Callable[..., list[Process]]

TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node")

# What srun does: it starts the tasks of all nodes, each told by SLURM's variables which one it is.
SRUN = """
import os, subprocess, sys
nodes, tasks, *command = sys.argv[1:]
nodes, tasks = int(nodes), int(tasks)
job = {"SLURM_JOB_ID": os.environ["SLURM_JOB_ID"], "SLURM_JOB_NAME": "distil", "SLURM_NODELIST": "localhost",
       "SLURM_NTASKS": str(nodes * tasks), "SLURM_NTASKS_PER_NODE": str(tasks), "SLURM_NNODES": str(nodes)}
started = [
    subprocess.Popen([sys.executable, *command], env=os.environ | job | {
        "SLURM_PROCID": str(node * tasks + task), "SLURM_LOCALID": str(task), "SLURM_NODEID": str(node)})
    for node in range(nodes) for task in range(tasks)
]
statuses = [process.wait() for process in started]
print("statuses", *statuses)
sys.exit(max(statuses))
"""


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def start(forks: ForkServer, tmp_path: Path) -> Iterator[Start]:
    """Starts commands side by side in an empty directory; what still runs after the test is ended."""
    started: list[Process] = []
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

    def execute(*commands: tuple[str, ...], spawns: int = 0, launches: int = 0, **more: str) -> list[Process]:
        (tmp_path / "empty").mkdir(exist_ok=True)
        env = environment(PYTHONPATH=path, **more)
        how = {"cwd": tmp_path / "empty", "env": env, "spawns": spawns, "launches": launches}
        started.extend(forks.start(*command, **how) for command in commands)
        return started

    yield execute
    for process in started:
        process.kill()
        process.communicate()


def ended(processes: list[Process], status: int = 0) -> tuple[str, str]:
    """What processes say, once all have ended with this exit status."""
    said = [process.communicate(timeout=120) for process in processes]
    out, err = ("".join(parts) for parts in zip(*said, strict=True))
    assert [process.returncode for process in processes] == [status] * len(processes), out + err
    return out, err


def slurm(tmp_path: Path, nodes: int, tasks: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """The start of a command under a stand-in for srun, and its environment."""
    (tmp_path / "srun.py").write_text(SRUN)
    job = {"SLURM_JOB_ID": "123", "MASTER_PORT": str(free_port())}
    return (str(tmp_path / "srun.py"), str(nodes), str(tasks)), job


Weights = Callable[[Path], dict[str, Tensor]]


@pytest.fixture(scope="module")
def student(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The student of two processes that the command starts itself."""
    directory = tmp_path_factory.mktemp("own")
    done = run_anew(TRAIN, *TINY, "trainer.devices=2", cwd=directory)
    assert done.returncode == 0, done.stderr
    return weights(only_run(directory) / "student.safetensors")


def only_run(directory: Path) -> Path:
    """The run in a directory where there is nothing else."""
    (outputs,) = directory.iterdir()
    (run,) = outputs.glob("*/*")
    return run


@pytest.mark.parametrize("launch", ["torchrun", "torchrun on two nodes", "slurm on two nodes"])
def test_however_processes_are_started_they_are_one_run_with_the_same_student(
    launch: str, student: dict[str, Tensor], start: Start, weights: Weights, tmp_path: Path
) -> None:
    if launch == "torchrun":
        processes = start(
            (*TORCHRUN, "2", "--master_port", str(free_port()), TRAIN, *TINY, "trainer.devices=2"), launches=2
        )
    elif launch == "torchrun on two nodes":
        nodes = ("--nnodes=2", "--master_addr=127.0.0.1", f"--master_port={free_port()}")
        settings = (TRAIN, *TINY, "trainer.devices=1", "trainer.num_nodes=2")
        processes = start(*((*TORCHRUN, "1", *nodes, f"--node_rank={rank}", *settings) for rank in (1, 0)), launches=1)
    else:
        srun, job = slurm(tmp_path, nodes=2, tasks=1)
        processes = start((*srun, TRAIN, *TINY, "trainer.devices=1", "trainer.num_nodes=2"), launches=2, **job)
    out, _ = ended(processes)
    assert out.count("report  ") == 1
    run = only_run(tmp_path / "empty")
    found = weights(run / "student.safetensors")
    assert found.keys() == student.keys()
    assert all(found[name].equal(student[name]) for name in found)
    assert (run / "train.log").read_text().count("student trained in") == 1


def test_a_mistake_is_one_line_and_the_status_of_all_processes(start: Start, tmp_path: Path) -> None:
    srun, job = slurm(tmp_path, nodes=1, tasks=2)
    out, err = ended(start((*srun, TRAIN, *TINY, "trainer.devices=2", "optimizer.lr=-1"), launches=2, **job), status=2)
    assert err.splitlines() == ["error: optimizer.lr=-1: must be zero or more"]
    assert out == "statuses 2 2\n"


ONE_ENDS = """
import os
import signal

from torch import nn


class OneEnds(nn.Module):
    def __init__(self, num_classes, killed):
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
        self.killed, self.passes = killed, 0

    def forward(self, images):
        self.passes += self.training
        if self.passes == 5 and os.environ.get("RANK") == "1":
            if self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise TypeError("no such thing")
        return self.network(images)
"""


@pytest.mark.parametrize("killed", [True, False])
def test_a_process_that_ends_under_torchrun_ends_the_run_with_a_line_that_names_it(
    killed: bool, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/one_ends.py").write_text(ONE_ENDS)
    student = ("model@student=custom", "student.target=one_ends.OneEnds", f"+student.arguments.killed={killed}")
    settings = (*TINY, *student, "trainer.devices=2", "hydra.run.dir=run")
    _, err = ended(start((*TORCHRUN, "2", "--master_port", str(free_port()), TRAIN, *settings), launches=2), status=1)
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")] or [err]
    if killed:
        assert line.startswith("error: process 1 of 2 was killed")
        assert line.endswith(f"; go on with resume={tmp_path}/empty/run")
    else:
        assert line == "error: process 1 of 2 failed: TypeError: no such thing"
        assert "Traceback" in (tmp_path / "empty/run/train.log").read_text()


ONE_HANGS = """
import os
import time

import numpy as np
import torch.distributed as dist


class OneHangs:
    targets = [i % 2 for i in range(64)]

    def __len__(self):
        return 64

    def __getitem__(self, index):
        if dist.is_initialized() and os.environ.get("RANK") == "1":
            time.sleep(600)
        return np.full((8, 8), 4 * index, dtype=np.uint8), self.targets[index]


def load():
    return OneHangs(), OneHangs()
"""


def test_a_process_that_hangs_in_its_data_ends_all_with_a_line_that_names_it(start: Start, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/one_hangs.py").write_text(ONE_HANGS)
    data = ("data=custom", "data.target=one_hangs.load", "data.in_memory=false", "data.workers=0", "data.timeout=2")
    settings = (TRAIN, *TINY, *data, "data.batch_size=8", "trainer.devices=2")
    _, err = ended(start(settings, spawns=2), status=2)
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: process 1 of 2 failed: data.timeout=2: it has waited")


def test_an_impossible_number_of_devices_is_one_line(run_here: Callable[..., Path]) -> None:
    with pytest.raises(SettingError, match=r"trainer\.devices=0: must be how many, 1 or more"):
        run_here("trainer.devices=0")
    with pytest.raises(SettingError, match=r"trainer\.devices=9999: .* give trainer\.devices=\d+ or fewer"):
        run_here("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=9999")
