"""Weighted soft labels (Zhou et al., 2102.00650).

    loss = label_weight * CE(student, labels) + weight * T^2 * mean_n w_n * (-sum p log q),
    w_n = 1 - exp(-CE_student / CE_teacher)

p and q: softmax of the teacher's and the student's logits / T; both CE: of sample n with its label, at temperature 1.

Shapes: logits (N, C) or (N, C, *positions).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.losses import soft_cross_entropy
from distill.losses.logits import as_rows
from distill.methods.base import Method, classes_of, positive
from distill.types import Batch, Outputs


class WSLD(Method):
    """Soft labels count less for samples that the student already knows better than the teacher.

    Args:
        temperature: softens both distributions; above 0.
        weight: of the soft labels.
        label_weight: of the cross-entropy.
    """

    needs_classes = True

    def __init__(self, temperature: float = 4.0, weight: float = 2.25, label_weight: float = 1.0) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.temperature = positive("temperature", temperature)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `wsld`."""
        rows, teacher_rows = as_rows(student.logits), as_rows(teacher.logits)
        with torch.no_grad():
            mine, theirs = (F.cross_entropy(x, classes_of(batch), reduction="none") for x in (rows, teacher_rows))
            weights = 1 - (-mine / (theirs + 1e-7)).exp()  # 1e-7: a teacher without any doubt
        return {"wsld": soft_cross_entropy(rows, teacher_rows, temperature=self.temperature, weights=weights)}
