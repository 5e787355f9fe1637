"""Distillation by Pearson correlation of a detector's pyramid (PKD, Cao et al., 2207.02039).

    pkd = sum over levels of mean over channels of 1 - r(s, t)

Shapes: maps (N, C, H, W); r is Pearson's correlation of a channel over the N H W positions of the batch, so that
neither the scale nor the offset of the teacher's features matters; s is the student's map, through a 1x1 convolution
where channels differ.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.base import Example, Method, Taps
from distill.methods.projection import matched_maps, projector, through
from distill.types import Batch, Outputs


class PKD(Method):
    """Each channel of the pyramid shall vary over positions and images as the teacher's.

    Args:
        student_layers, teacher_layers: taken in pairs; the levels of the pyramid in the paper.
        weight: of the correlations; the paper's setting is 10 for each level.
        label_weight: of the labels' loss.
        gather: correlate over the samples of all processes in a step, not each process its own; see `Method`.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("levels.*",),
        teacher_layers: Sequence[str] = ("levels.*",),
        weight: float = 10.0,
        label_weight: float = 1.0,
        gather: bool = False,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)
        self.gather = gather

    def setup(self, example: Example) -> None:
        """Create the projections where channels differ, without a bias, which no correlation sees."""
        levels = matched_maps(self, example.student, example.teacher)
        self.projectors = nn.ModuleList(projector(s, t, bias=False) for s, t in levels)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `pkd`."""
        levels = zip(self.projectors, matched_maps(self, student, teacher), strict=True)
        pairs = [(self.gathered(through(project, s)), self.gathered(t)) for project, (s, t) in levels]
        return {"pkd": torch.stack([1 - _correlation(s, t) for s, t in pairs]).sum()}


def _correlation(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """Mean over channels of Pearson's correlation; 0 for a channel that is constant."""
    a, b = (x.transpose(0, 1).flatten(1) for x in (a, b))
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    return F.cosine_similarity(a, b, dim=1).mean()
