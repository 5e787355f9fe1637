"""The few samples on which teacher and student differ most."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from distill.tasks.base import Task


@dataclass(slots=True)
class Example:
    """A sample on which teacher and student differ.

    index: within its split. truth: its label. said: by network, what it says and whether that is right.
    """

    index: int
    truth: str
    said: dict[str, tuple[str, bool]]


@dataclass(slots=True)
class Disagreements:
    """The samples on which teacher and student differ most, at most so many; how many there are in all."""

    most: int = 18
    total: int = 0
    _found: list[tuple[float, Example]] = field(default_factory=list)

    def add(
        self,
        task: Task,
        indices: Tensor,
        targets: Tensor,
        student: Tensor,
        teacher: Tensor,
        class_names: Sequence[str],
    ) -> None:
        """Look at a batch."""
        plain = task.disagreement(student, teacher)
        self.total += int((plain > 0).sum())
        most = plain.topk(min(self.most, len(plain)))
        for place in most.indices[most.values > 0]:
            said = {
                name: task.answer(logits[place], targets[place], class_names)
                for name, logits in (("teacher", teacher), ("student", student))
            }
            example = Example(int(indices[place]), task.truth(targets[place], class_names), said)
            self._found.append((float(plain[place]), example))
        self._found = sorted(self._found, key=lambda found: -found[0])[: self.most]

    @property
    def shown(self) -> list[Example]:
        """The plainest first."""
        return [example for _, example in self._found]
