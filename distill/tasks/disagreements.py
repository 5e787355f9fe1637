"""The few samples on which teacher and student differ most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from distill.tasks.base import Task


@dataclass(slots=True)
class Example:
    """A sample on which teacher and student differ.

    index: within its split. truth: its label. said: by network, what it says and whether that is right.
    drawn: what is drawn of it, as labels: its own under 'truth', and what each network says; empty where words will do.
    """

    index: int
    truth: str
    said: dict[str, tuple[str, bool]]
    drawn: dict[str, Tensor] = field(default_factory=dict)


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
        logits: Mapping[str, Tensor],
        class_names: Sequence[str],
    ) -> None:
        """Look at a batch; `logits` are those of 'teacher', 'student' and whatever other networks are to be drawn."""
        plain = task.disagreement(logits["student"], logits["teacher"])
        self.total += int((plain > 0).sum())
        most = plain.topk(min(self.most, len(plain)))
        for place in most.indices[most.values > 0]:
            said = {
                name: task.answer(logits[name][place], targets[place], class_names) for name in ("teacher", "student")
            }
            drawn = _drawn(task, targets[place], {name: each[place] for name, each in logits.items()})
            example = Example(int(indices[place]), task.truth(targets[place], class_names), said, drawn)
            self._found.append((float(plain[place]), example))
        self._found = sorted(self._found, key=lambda found: -found[0])[: self.most]

    @property
    def shown(self) -> list[Example]:
        """The plainest first."""
        return [example for _, example in self._found]


def _drawn(task: Task, target: Tensor, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One sample's own label and what networks say, as labels to be drawn; nothing where words will do."""
    said = {name: task.decided(logits[name]) for name in ("teacher", "baseline", "student") if name in logits}
    known = {name: label for name, label in said.items() if label is not None}
    return {"truth": target.clone(), **known} if known else {}
