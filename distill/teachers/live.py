"""The teacher network itself, asked at every step."""

from collections.abc import Iterable

from torch import nn

from distill.inputs import Inputs
from distill.models.frozen import freeze
from distill.models.network import Network
from distill.teachers.base import Teacher
from distill.types import Batch, Outputs


class LiveTeacher(Teacher):
    """A frozen network that looks at each batch.

    Args:
        network: the teacher; its parameters stop requiring gradients.
        shard: where training is sharded (`trainer=fsdp`), each process holds a part of a copy of it.
    """

    network: Network
    cacheable = True

    def __init__(self, network: Network, shard: bool = False) -> None:
        super().__init__(network.requires_grad_(False))
        self.shard = shard
        self.eval()

    def predict(self, batch: Batch) -> Outputs:
        """One forward pass."""
        outputs: Outputs = self.network(batch.inputs)
        return outputs

    def optimize_for_inference(self, inputs: Inputs, precision: str) -> None:
        """Ask a frozen copy from now on; the network itself stays as it is."""
        self.network, self.form = freeze(self.network, inputs, precision)

    def tap(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """Capture layers of the network."""
        return self.network.tap(patterns)


def answers_of(teacher: Teacher | None, batch: Batch) -> Outputs | None:
    """What a teacher predicts for a batch; None without one."""
    if teacher is None:
        return None
    answers: Outputs = teacher(batch)
    return answers


def as_teacher(teacher: nn.Module) -> Teacher:
    """A teacher as it is; a network as one that is asked at every step."""
    if isinstance(teacher, Teacher):
        return teacher
    return LiveTeacher(teacher if isinstance(teacher, Network) else Network(teacher))
