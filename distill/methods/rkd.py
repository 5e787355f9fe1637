"""Relational knowledge distillation (Park et al., 1904.05068).

    loss = label_weight * CE(student, labels)
         + weight * sum_layers [distance * huber(d_s, d_t) + angle * huber(a_s, a_t)],
    d_ij = |f_i - f_j| / mean of all distances that aren't 0;  a_ijk = cos of the angle at f_j between f_i and f_k

Huber with threshold 1, as means over all N^2 pairs and N^3 triples, those with themselves included.

Shapes: features f (N, ...), flattened to (N, D); D may differ between student and teacher. Memory grows as N^2 D + N^3.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.methods.base import Method, Taps, not_negative
from distill.types import Batch, Outputs


class RKD(Method):
    """Distances and angles between samples shall be the teacher's, up to scale.

    Args:
        student_layers, teacher_layers: paired by position.
        distance: of the distances' term.
        angle: of the angles' term.
        weight: of both.
        label_weight: of the cross-entropy.
        gather: compare the samples of all processes in a step, not each process its own; see `Method`.
    """

    accepts_pooled = True
    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("embedding",),
        teacher_layers: Sequence[str] = ("embedding",),
        distance: float = 25.0,
        angle: float = 50.0,
        weight: float = 1.0,
        label_weight: float = 1.0,
        gather: bool = False,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.gather = gather
        self.taps = Taps.of(student_layers, teacher_layers)
        self.distance = not_negative("distance", distance)
        self.angle = not_negative("angle", angle)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The terms `rkd_distance` and `rkd_angle`."""
        relations = [(_relations(s), _relations(t)) for s, t in self.gathered_pairs(student, teacher)]
        distances = torch.stack([F.smooth_l1_loss(mine[0], theirs[0]) for mine, theirs in relations]).sum()
        angles = torch.stack([F.smooth_l1_loss(mine[1], theirs[1]) for mine, theirs in relations]).sum()
        return {"rkd_distance": distances, "rkd_angle": angles}

    def weight_of(self, term: str) -> float:
        """`distance` and `angle` count beside `weight`."""
        return super().weight_of(term) * {"rkd_distance": self.distance, "rkd_angle": self.angle}.get(term, 1.0)


def _relations(features: Float[Tensor, "n ..."]) -> tuple[Float[Tensor, "n n"], Float[Tensor, "n n n"]]:
    """(N, ...) -> distances (N, N) over their mean, and cosines (N, N, N), the corner first."""
    features = features.flatten(1)
    difference = features.unsqueeze(0) - features.unsqueeze(1)
    squared = difference.square().sum(2)
    same = squared == 0  # a sample and itself, or its copy: the square root has no gradient there
    distance = squared.masked_fill(same, 1).sqrt().masked_fill(same, 0)
    mean = distance.sum() / (~same).sum().clamp_min(1)
    direction = F.normalize(difference, dim=2)
    return distance / mean.masked_fill(mean == 0, 1), direction @ direction.transpose(1, 2)
