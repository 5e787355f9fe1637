"""Self-supervised knowledge distillation using singular value decomposition (Lee et al., 1807.06819).

    kdsvd = sum over adjacent layers of 1/N sum [R(student) - R(teacher)]^2,  R_ijk = exp(-(a_ik - b_jk)^2 / 8)

Shapes: a map (N, C, H, W) is N matrices (H W, C); a and b (N, C, rank) are the leading right singular vectors of a
layer and of the one before it, times the teacher's singular values (which are scaled to norm 1). The student offers
three vectors more, of which the one nearest to each of the teacher's is taken, its sign turned to match. Channels are
made equal by 1x1 convolutions.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.losses.singular import singular_vectors
from distill.methods.base import Example, Method, Taps
from distill.methods.projection import matched_maps, projector, through
from distill.types import Batch, Outputs

SPARE = 3  # vectors that the student offers beyond the rank


class KDSVD(Method):
    """The squared distance of how a layer's leading singular vectors relate to the next layer's.

    Args:
        student_layers, teacher_layers: taken in pairs, two or more, in the order of the network.
        rank: singular vectors kept, 1 or more.
        weight: of the distance; 1 in the shared CIFAR-100 tables.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("stages",),
        teacher_layers: Sequence[str] = ("stages",),
        rank: int = 1,
        weight: float = 1.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if rank < 1:
            raise ValueError(f"rank={rank}: must be 1 or more")
        self.taps = Taps.of(student_layers, teacher_layers)
        self.rank = rank

    def setup(self, example: Example) -> None:
        """Create the projections where channels differ."""
        layers = matched_maps(self, example.student, example.teacher)
        if len(layers) < 2:
            raise ValueError(f"KDSVD: student_layers={list(self.taps.student)}: name two layers or more")
        self.projectors = nn.ModuleList(projector(s, t) for s, t in layers)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `kdsvd`."""
        ours, theirs = [], []
        for project, (s, t) in zip(self.projectors, matched_maps(self, student, teacher), strict=True):
            vectors, values = singular_vectors(t, self.rank)
            values = F.normalize(values, dim=1)[:, None]
            aligned = _aligned(singular_vectors(through(project, s), self.rank + SPARE)[0], vectors)
            ours.append(aligned * values)
            theirs.append(vectors * values)
        relations = zip(map(_relation, pairwise(ours)), map(_relation, pairwise(theirs)), strict=True)
        return {"kdsvd": torch.stack([(s - t).square().sum() / len(s) for s, t in relations]).sum()}


def _aligned(student: Float[Tensor, "n c m"], teacher: Float[Tensor, "n c k"]) -> Float[Tensor, "n c k"]:
    """Of the student's vectors (N, C, K'), the nearest to each of the teacher's (N, C, K), pointing the same way."""
    cosines = student.mT @ teacher
    nearest = cosines.abs().argmax(1, keepdim=True)
    chosen = student.gather(2, nearest.expand(-1, student.shape[1], -1))
    return chosen * cosines.gather(1, nearest).sign().detach()


def _relation(layers: tuple[Tensor, Tensor]) -> Tensor:
    before, after = layers
    return torch.exp(-(after[:, :, None] - before[:, None]).square() / 8)
