"""The interface of all teachers."""

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import torch
from torch import nn

from distill.inputs import Inputs
from distill.methods import Method
from distill.models.network import Network
from distill.types import Batch, Outputs


class Teacher(nn.Module):
    """Who answers. Without gradients and in evaluation mode always: dropout is off and no statistic of it moves.

    A subclass implements `predict`, and `tap` if it can give features.

    Args:
        network: whose layers can be tapped and whose classifier methods may reuse; None where there is no live network.

    Attributes:
        keeps_answers: whether what was answered once isn't worked out again; of the class.
        cacheable: whether its answers are those of its network alone, so that a cache could give them; of the class.
        form: in which form it answers since `optimize_for_inference`, in words; None for those that know of none.
    """

    keeps_answers: ClassVar[bool] = False
    cacheable: ClassVar[bool] = False
    form: str | None = None

    def __init__(self, network: Network | None = None) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Outputs:
        """Answers for a batch, without gradients."""
        with torch.no_grad():
            return self.predict(batch)

    def predict(self, batch: Batch) -> Outputs:
        """Answers for a batch; called without gradients."""
        raise NotImplementedError

    def tap(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """Capture the outputs of layers from now on; returns the paths that matched."""
        raise NotImplementedError

    def optimize_for_inference(self, inputs: Inputs, precision: str) -> None:
        """Take the fastest form that gives the same answers within a tolerance, after all taps are set; see `form`.

        Args:
            inputs: a few, on the device of the networks, to compare answers on.
            precision: the trainer's, such as 'bf16-mixed'.
        """

    def begin(self, student: Network) -> None:
        """Called once, before training; for teachers that come out of the student."""

    def step(self, done: int) -> None:
        """Called in training; `done` steps of the optimizer have been made."""

    def moving_state_dict(self) -> dict[str, Any]:
        """What of the teacher moves in training, for the checkpoint; empty for most."""
        return {}

    def load_moving_state_dict(self, state: dict[str, Any]) -> None:
        """As `moving_state_dict` gave it."""

    def check(self, method: Method) -> None:
        """Before anything is trained: SettingError if the method needs answers that are not to be had here."""

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, whatever Lightning asks for."""
        return super().train(False)
