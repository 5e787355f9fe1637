"""Similarity-preserving distillation (Tung and Mori, 1907.09682).

    loss = label_weight * CE(student, labels) + weight * sum_layers |G_t - G_s|^2 / N^2,
    G = F F' with each row scaled to length 1

Shapes: features F (N, ...), flattened to (N, D); D may differ between student and teacher.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.methods.base import Method, Taps
from distill.types import Batch, Outputs


class SP(Method):
    """Samples that look alike to the teacher shall look alike to the student.

    Args:
        student_layers, teacher_layers: paired by position.
        weight: of the similarity term.
        label_weight: of the cross-entropy.
        gather: compare the samples of all processes in a step, not each process its own; see `Method`.
    """

    accepts_pooled = True
    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("last_stage",),
        weight: float = 3000.0,
        label_weight: float = 1.0,
        gather: bool = False,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.gather = gather
        self.taps = Taps.of(student_layers, teacher_layers)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `sp`."""
        return {"sp": torch.stack([similarity_gap(s, t) for s, t in self.gathered_pairs(student, teacher)]).sum()}


def similarity_gap(student: Float[Tensor, "n ..."], teacher: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
    """Mean squared difference of the row-normalised similarity matrices of two (N, ...) features."""
    mine, theirs = (F.normalize(x @ x.T, dim=1) for x in (student.flatten(1), teacher.flatten(1)))
    return F.mse_loss(mine, theirs)
