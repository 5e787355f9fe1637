"""Normalised knowledge distillation (Yang et al., 2303.13005).

    loss = label_weight * CE(student, labels)
         + weight * [-p_true log q_true - gamma T^2 sum_others p^ log q^]

p and q: softmax of the teacher's and the student's logits at temperature 1; p^ and q^: at T, among the other classes.

Shapes: logits (N, C) or (N, C, *positions).
"""

from jaxtyping import Float
from torch import Tensor

from distill.losses import soft_cross_entropy
from distill.losses.logits import as_rows, split_classes
from distill.methods.base import Method, classes_of, not_negative, positive
from distill.methods.view import Trait
from distill.types import Batch, Outputs


class NKD(Method):
    """Cross-entropy to the teacher's probability of the true class, and to its renormalised view of the others.

    Args:
        temperature: softens the distributions among the other classes; above 0.
        gamma: of the other classes' term.
        weight: of both terms.
        label_weight: of the cross-entropy.
    """

    needs_classes = True
    needs: frozenset[Trait] = frozenset({"exclusive classes"})

    def __init__(
        self, temperature: float = 3.0, gamma: float = 3.5, weight: float = 1.0, label_weight: float = 1.0
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.temperature = positive("temperature", temperature)
        self.gamma = not_negative("gamma", gamma)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The terms `nkd_true` and `nkd_others`."""
        classes = classes_of(batch)
        rows, teacher_rows = as_rows(student.logits), as_rows(teacher.logits)
        log_q, _ = split_classes(rows.log_softmax(1), classes)
        p, _ = split_classes(teacher_rows.softmax(1), classes)
        (_, others), (_, teacher_others) = split_classes(rows, classes), split_classes(teacher_rows, classes)
        among_others = soft_cross_entropy(others, teacher_others, temperature=self.temperature)
        return {"nkd_true": -(p * log_q).mean(), "nkd_others": among_others}

    def weight_of(self, term: str) -> float:
        """`gamma` counts beside `weight`."""
        return super().weight_of(term) * (self.gamma if term == "nkd_others" else 1.0)
