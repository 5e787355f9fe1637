"""The student's own moving average as its teacher (Mean Teacher, Tarvainen and Valpola, 1703.01780)."""

import copy
from collections.abc import Iterable
from typing import Any

from distill.models.average import follow
from distill.models.network import Network
from distill.teachers.base import Teacher
from distill.types import Batch, Outputs


class EMATeacher(Teacher):
    """Weights that follow the student's: after step n, d * own + (1 - d) * student's, d = min(decay, 1 - 1/(n + 1)).

    The statistics of BatchNorm follow in the same way; counters are copied.

    Args:
        decay: share of the old weights that stays, in [0, 1); early steps keep less, so that the start is forgotten.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay}: must be at least 0 and below 1")
        self.decay = decay
        self._done = 0
        self._student: tuple[Network, ...] = ()  # in a tuple, so that it isn't taken for a part of the teacher

    def begin(self, student: Network) -> None:
        """Start as a copy of the student, once: a copy of one whose layers are tapped would share its taps."""
        if self._student and self._student[0] is student:
            return
        self.network = copy.deepcopy(student).requires_grad_(False).eval()
        self._student = (student,)

    def step(self, done: int) -> None:
        """Follow the student, once for each step of the optimizer."""
        if done == self._done or self.network is None:
            return
        self._done = done
        follow(self.network.state_dict(), self._student[0].state_dict(), min(self.decay, 1 - 1 / (done + 1)))

    def predict(self, batch: Batch) -> Outputs:
        """One forward pass of the average."""
        if self.network is None:
            raise RuntimeError("EMATeacher.begin(student) comes first: there is nothing to average yet")
        outputs: Outputs = self.network(batch.inputs)
        return outputs

    def tap(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """Capture layers of the average."""
        if self.network is None:
            raise RuntimeError("EMATeacher.begin(student) comes first: there is nothing to tap yet")
        return self.network.tap(patterns)

    def moving_state_dict(self) -> dict[str, Any]:
        """The average, and the steps it has followed."""
        return {"done": self._done, "average": self.state_dict()}

    def load_moving_state_dict(self, state: dict[str, Any]) -> None:
        """As `moving_state_dict` gave it."""
        self._done = state["done"]
        self.load_state_dict(state["average"])
