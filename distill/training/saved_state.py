"""What a checkpoint holds beside weights and the optimizer's state, as plain values."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from distill.models.metadata import metadata
from distill.models.network import Network
from distill.processes import of_all_processes, process_and_count
from distill.seeding import generator_states, set_generator_states
from distill.teachers import Teacher
from distill.training.history import History
from distill.training.nonfinite import LossWatch
from distill.training.running import TrainingRecord


def saved_state(
    history: History,
    losses: LossWatch,
    deployed: Network,
    teacher: Teacher | None,
    record: TrainingRecord,
    own: Iterable[Tensor],
    device: torch.device,
) -> dict[str, Any]:
    """The history, so that a resumed run's curves are whole; the steps left out; how images are preprocessed, for those
    who load the weights elsewhere; the state of a teacher that moves; and of each process, what it has measured in the
    epoch, where its generators stand, and the tensors that are its `own`: statistics of BatchNorm."""
    state: dict[str, Any] = {"history": list(history), "skipped": [losses.skipped, losses.first], **metadata(deployed)}
    mine = {"record": record.state_dict(), "generators": generator_states(device), "own": [x.cpu() for x in own]}
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
    """Put back what `saved_state` gave, and return what it gave of this process, for `set_own_state`; a checkpoint of
    other origin may lack any of it."""
    history[:] = checkpoint.get("history", [])
    losses.skipped, losses.first = checkpoint.get("skipped", (0, None))
    if teacher is not None and "teacher" in checkpoint:
        teacher.load_moving_state_dict(checkpoint["teacher"])
    rank, count = process_and_count()
    processes = checkpoint.get("processes", [])
    if len(processes) != count:
        return None
    record.load_state_dict(processes[rank]["record"])
    own_state: dict[str, Any] = processes[rank]
    return own_state


def set_own_state(state: Mapping[str, Any] | None, own: Iterable[Tensor], device: torch.device) -> None:
    """Before the first batch: this process's generators and tensors as they were; None leaves them as they are."""
    if state is None:
        return
    set_generator_states(state["generators"], device)
    for tensor, before in zip(own, state.get("own", ()), strict=False):
        tensor.copy_(before)
