"""What a checkpoint holds beside weights and the optimizer's state, as plain values."""

from collections.abc import Mapping
from typing import Any

from distill.models.metadata import metadata
from distill.models.network import Network
from distill.teachers import Teacher
from distill.training.history import History
from distill.training.nonfinite import LossWatch


def saved_state(history: History, losses: LossWatch, deployed: Network, teacher: Teacher | None) -> dict[str, Any]:
    """The history, so that a resumed run's curves are whole; the steps left out; how images are preprocessed, for those
    who load the weights elsewhere; and the state of a teacher that moves."""
    state: dict[str, Any] = {"history": list(history), "skipped": [losses.skipped, losses.first], **metadata(deployed)}
    if teacher is not None and (moving := teacher.moving_state_dict()):
        state["teacher"] = moving
    return state


def load_saved_state(
    checkpoint: Mapping[str, Any], history: History, losses: LossWatch, teacher: Teacher | None
) -> None:
    """Put back what `saved_state` gave; a checkpoint of other origin may lack any of it."""
    history[:] = checkpoint.get("history", [])
    losses.skipped, losses.first = checkpoint.get("skipped", (0, None))
    if teacher is not None and "teacher" in checkpoint:
        teacher.load_moving_state_dict(checkpoint["teacher"])
