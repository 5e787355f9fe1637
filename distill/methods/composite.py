"""A method that adds up the terms of several methods."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from distill.methods.base import Example, Method
from distill.methods.terms import LossTerms
from distill.methods.view import View
from distill.types import Batch, Outputs


class Composite(Method):
    """Several methods at once: `'method=[kd,at]'`. Weighted terms of the same name (the labels' `ce`) add up.

    Args:
        methods: by name, as configured.
    """

    def __init__(self, methods: Mapping[str, Method]) -> None:
        super().__init__(weight=1.0, label_weight=0.0)
        self.methods = nn.ModuleDict(methods)
        self.needs_teacher = any(method.needs_teacher for method in methods.values())
        self.needs_logits = any(method.needs_logits for method in methods.values())

    @property
    def members(self) -> list[Method]:
        """The methods, in order."""
        return [method for method in self.methods.values() if isinstance(method, Method)]

    def learn_labels_by(self, loss: nn.Module) -> None:
        """All members take it."""
        for method in self.members:
            method.learn_labels_by(loss)

    def see_by(self, view: View) -> None:
        """All members do."""
        for method in self.members:
            method.see_by(view)

    def setup_student(self, student: nn.Module) -> None:
        """Let each method create what goes with the student."""
        for method in self.members:
            method.setup_student(student)

    def setup(self, example: Example) -> None:
        """Set up each method with the features that it asked for."""
        for method in self.members:
            student, teacher = (
                _select(example.student, method.taps.student),
                _select(example.teacher, method.taps.teacher),
            )
            method.setup(replace(example, student=student, teacher=teacher))

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> LossTerms:
        """All members' terms."""
        return LossTerms.combined(
            method(
                _select(student, method.taps.student),
                None if teacher is None else _select(teacher, method.taps.teacher),
                batch,
            )
            for method in self.members
        )

    def deploy(self, backbone: nn.Module) -> nn.Module:
        """What the member that changes the network makes of it."""
        for method in self.members:
            backbone = method.deploy(backbone)
        return backbone

    def deployed_logits(self, student: Outputs) -> Tensor | None:
        """Those of the member that changes the network."""
        for method in self.members:
            logits = method.deployed_logits(_select(student, method.taps.student))
            if logits is not student.logits:
                return logits
        return student.logits

    def set_progress(self, progress: float) -> None:
        """Move what any member schedules."""
        for method in self.members:
            method.set_progress(progress)

    def scheduled(self) -> dict[str, float]:
        """What any member schedules, as `kd.temperature`."""
        return {
            f"{name}.{number}": value
            for name, method in zip(self.methods, self.members, strict=True)
            for number, value in method.scheduled().items()
        }


def _select(outputs: Outputs, names: tuple[str, ...]) -> Outputs:
    return replace(outputs, features={name: outputs.features[name] for name in names})
