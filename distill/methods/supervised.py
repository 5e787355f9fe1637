"""Training on labels alone: how the teacher and the baseline are trained, with no one to imitate."""

from distill.methods.base import Method
from distill.methods.terms import LossTerms
from distill.types import Batch, Outputs


class Supervised(Method):
    """Cross-entropy with the true labels; ignores the teacher.

    Args:
        label_weight: of the cross-entropy.
    """

    needs_teacher = False

    def __init__(self, label_weight: float = 1.0) -> None:
        super().__init__(weight=0.0, label_weight=label_weight)

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> LossTerms:
        """The term `ce`."""
        return LossTerms.weigh(self.label_terms(student, batch), self.weight_of)
