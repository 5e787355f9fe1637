"""Mean squared error between the logits themselves (Kim et al., 2105.08919).

    loss = label_weight * CE(student, labels) + weight * mean (z_s - z_t)^2

The paper writes the squared norm, a sum over the classes; its published code, and so this, takes the mean over them.

Shapes: logits z (N, C) or (N, C, *positions).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.losses.logits import precise
from distill.methods.base import Method
from distill.types import Batch, Outputs


class LogitMSE(Method):
    """The student's logits regress to the teacher's.

    Args:
        weight: of the squared error.
        label_weight: of the cross-entropy.
    """

    raw_logits = True

    def __init__(self, weight: float = 1.0, label_weight: float = 0.0) -> None:
        super().__init__(weight=weight, label_weight=label_weight)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `logit_mse`."""
        mine, theirs = student.logits, teacher.logits
        if batch.valid is not None:
            mine, theirs = (logits.movedim(1, -1)[batch.valid] for logits in (mine, theirs))
        return {"logit_mse": F.mse_loss(precise(mine), precise(theirs))}
