"""Probabilistic knowledge transfer (Passalis and Tefas, 1803.10837).

    loss = label_weight * CE(student, labels) + weight * sum_layers mean_ij p_ij log(p_ij / q_ij),
    p_ij = (1 + cos(f_i, f_j)) / sum_k (1 + cos(f_i, f_k))

p of the teacher's features, q of the student's. The paper sums over i and j; the authors' code, and so this and the
published weight, takes the mean over all N^2 pairs.

Shapes: features f (N, ...), flattened to (N, D); D may differ between student and teacher.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from distill.methods.base import Method, Taps
from distill.types import Batch, Outputs

EPS = 1e-7  # as published, beside the lengths and within the logarithm


class PKT(Method):
    """How likely each sample is another's neighbour shall be the same for student and teacher.

    Args:
        student_layers, teacher_layers: paired by position.
        weight: of the divergence.
        label_weight: of the cross-entropy.
        gather: compare the samples of all processes in a step, not each process its own; see `Method`.
    """

    accepts_pooled = True
    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("embedding",),
        teacher_layers: Sequence[str] = ("embedding",),
        weight: float = 30000.0,
        label_weight: float = 1.0,
        gather: bool = False,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.gather = gather
        self.taps = Taps.of(student_layers, teacher_layers)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `pkt`."""
        return {
            "pkt": torch.stack([neighbour_divergence(s, t) for s, t in self.gathered_pairs(student, teacher)]).sum()
        }


def neighbour_divergence(student: Float[Tensor, "n ..."], teacher: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
    """Mean over pairs of p log(p / q) for two (N, ...) features."""
    q, p = _neighbours(student.flatten(1)), _neighbours(teacher.flatten(1))
    return (p * ((p + EPS) / (q + EPS)).log()).mean()


def _neighbours(features: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """(N, D) -> (N, N) probabilities, rows summing to 1."""
    direction = features / (features.norm(dim=1, keepdim=True) + EPS)
    similarity = (direction @ direction.T + 1) / 2
    neighbours: Tensor = similarity / similarity.sum(1, keepdim=True)
    return neighbours
