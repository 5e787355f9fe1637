"""What a checkpoint holds beside weights and the optimizer's state, as plain values."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist

from distill.models.metadata import metadata
from distill.models.network import Network
from distill.seeding import generator_states
from distill.teachers import Teacher
from distill.training.history import History
from distill.training.nonfinite import LossWatch
from distill.training.processes import of_all_processes
from distill.training.running import TrainingRecord


def saved_state(
    history: History,
    losses: LossWatch,
    deployed: Network,
    teacher: Teacher | None,
    record: TrainingRecord,
    device: torch.device,
) -> dict[str, Any]:
    """The history, so that a resumed run's curves are whole; the steps left out; how images are preprocessed, for those
    who load the weights elsewhere; the state of a teacher that moves; and of each process, what it has measured in the
    epoch and where its generators stand."""
    state: dict[str, Any] = {"history": list(history), "skipped": [losses.skipped, losses.first], **metadata(deployed)}
    mine = {"record": record.state_dict(), "generators": generator_states(device)}
    state["processes"] = of_all_processes(mine)
    if teacher is not None and (moving := teacher.moving_state_dict()):
        state["teacher"] = moving
    return state


def load_saved_state(
    checkpoint: Mapping[str, Any],
    history: History,
    losses: LossWatch,
    teacher: Teacher | None,
    record: TrainingRecord,
) -> dict[str, Any] | None:
    """Put back what `saved_state` gave, and return where this process's generators stood; a checkpoint of other origin
    may lack any of it."""
    history[:] = checkpoint.get("history", [])
    losses.skipped, losses.first = checkpoint.get("skipped", (0, None))
    if teacher is not None and "teacher" in checkpoint:
        teacher.load_moving_state_dict(checkpoint["teacher"])
    several = dist.is_available() and dist.is_initialized()
    rank, count = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)
    processes = checkpoint.get("processes", [])
    if len(processes) != count:
        return None
    record.load_state_dict(processes[rank]["record"])
    generators: dict[str, Any] = processes[rank]["generators"]
    return generators
