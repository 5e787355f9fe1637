"""Teacher-free distillation by a teacher drawn by hand (Tf-KD_reg; Yuan et al., 1909.11723).

    loss = label_weight * CE(student, labels) + weight * KL(softmax(u / T) || softmax(student))
    u = correct for the true class, (1 - correct) / (C - 1) for each other

As in the published code T softens u, which is a distribution already, and leaves the student alone: the aim is close to
uniform, a smoothing of the labels. The paper's other form, Tf-KD_self, is KD from a network of the student's own kind:
`model@teacher=cnn4 model@student=cnn4 method=kd`.

Shapes: logits (N, C) or (N, C, *positions).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from distill.losses import kl_divergence
from distill.losses.logits import as_rows
from distill.methods.base import Method, classes_of, positive
from distill.methods.terms import LossTerms
from distill.types import Batch, Outputs


class TfKD(Method):
    """KL to a softened distribution that is made from the label; needs no teacher and ignores one that is given.

    Args:
        correct: share of the true class before softening, in (0, 1).
        temperature: softens it; above 0.
        weight: of the KL term.
        label_weight: of the cross-entropy.
    """

    needs_teacher = False
    needs_classes = True

    def __init__(
        self, correct: float = 0.99, temperature: float = 20.0, weight: float = 0.1, label_weight: float = 0.9
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if not 0 < correct < 1:
            raise ValueError(f"correct={correct}: must be above 0 and below 1")
        self.correct = correct
        self.temperature = positive("temperature", temperature)

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> LossTerms:
        """The terms `ce` and `tf_kd`."""
        return super().forward(
            student, student, batch
        )  # in the place of the teacher, at which `compute_losses` doesn't look

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `tf_kd`."""
        rows = as_rows(student.logits)
        aim = torch.full_like(rows, (1 - self.correct) / max(1, rows.shape[1] - 1))
        aim.scatter_(1, classes_of(batch).unsqueeze(1), self.correct)
        return {"tf_kd": kl_divergence(rows, (aim / self.temperature).softmax(1), teacher_is="probabilities")}
