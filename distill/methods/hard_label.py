"""Hard-label distillation: the teacher's decision as a second label (DeiT, Touvron et al., 2012.12877).

    loss = label_weight * CE(student, labels) + weight * CE(student, argmax teacher)

Shapes: logits (N, C) or (N, C, *positions).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.losses.logits import as_rows
from distill.methods.base import Method
from distill.types import Batch, Outputs


class HardLabel(Method):
    """Cross-entropy with the class that the teacher names.

    Args:
        weight: of the cross-entropy with the teacher's class.
        label_weight: of the cross-entropy with the true class.
    """

    def __init__(self, weight: float = 0.5, label_weight: float = 0.5) -> None:
        super().__init__(weight=weight, label_weight=label_weight)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `hard_label`."""
        return {"hard_label": F.cross_entropy(as_rows(student.logits), as_rows(teacher.logits).argmax(1))}
