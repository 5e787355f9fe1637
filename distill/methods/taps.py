"""The layers that a method asks for, and what it may know of both networks before training."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from distill.types import Outputs

ATTENTION = {
    "query": ("query", "q_lin", "q_proj"),
    "key": ("key", "k_lin", "k_proj"),
    "value": ("value", "v_lin", "v_proj"),
}
"""What the layers that make these are called in blocks of transformers."""


@dataclass(frozen=True, slots=True)
class Taps:
    """Layers wanted from each network.

    Before a run: submodule paths, patterns (`layer*.2`), or the words of `distill.models.network`: 'stages' (the
    output of each stage), 'last_stage', 'embedding' (what the classifier sees); with `:query`, `:key` or `:value` the
    layer in a transformer's block that makes these. Once the networks are known: names.
    """

    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()

    @classmethod
    def of(cls, student_layers: Sequence[str], teacher_layers: Sequence[str]) -> "Taps":
        """The taps that a method's two settings name; one name alone stands for itself."""
        return cls(
            *((layers,) if isinstance(layers, str) else tuple(layers) for layers in (student_layers, teacher_layers))
        )

    def check_paired(self) -> None:
        """Raise ValueError unless there is a layer of each network, and as many of both."""
        if not self.student:
            raise ValueError("student_layers=[]: name at least one layer")
        if len(self.student) != len(self.teacher):
            raise ValueError(
                f"student_layers={list(self.student)}: {len(self.student)} layers, but "
                f"teacher_layers={list(self.teacher)}: {len(self.teacher)}; "
                "they are paired by position, so name as many of each"
            )


@dataclass(frozen=True, slots=True)
class Example:
    """What a method may know before training starts.

    student, teacher: both networks' outputs for one example batch, features included.
    labels: (S,) int64, the true class of every training sample, by its index; -1 for those that aren't trained on.
    classifier: a frozen copy of the teacher's last linear layer, (N, D) embeddings to (N, C) logits; None where no
        live network teaches.
    """

    student: Outputs
    teacher: Outputs
    labels: Tensor
    classifier: nn.Linear | None = None
