"""Inter-channel correlation (ICKD-C, Liu et al., 2202.03680).

    loss = label_weight * CE(student, labels) + weight * sum_layers mean_n |G_t - G_s|^2 / C,
    G = F F' with each row scaled to length 1, for the C channels of sample n

The student's map passes through a 1x1 convolution to the teacher's C channels and batch normalisation, trained with it.

Shapes: features F (N, C, H, W); positions may differ between student and teacher.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.base import Example, Method, Taps
from distill.methods.projection import paired_maps
from distill.types import Batch, Outputs


class ICKD(Method):
    """The teacher's channels, however they look, shall correlate with each other as its own do.

    Args:
        student_layers, teacher_layers: paired by position.
        weight: of the correlation term.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("last_stage",),
        weight: float = 2.5,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)
        self.embed = nn.ModuleList()

    def setup(self, example: Example) -> None:
        """Create the convolutions."""
        for s, t in paired_maps(self, example.student, example.teacher):
            channels = t.shape[1]
            self.embed.append(nn.Sequential(nn.Conv1d(s.shape[1], channels, 1, bias=False), nn.BatchNorm1d(channels)))

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `ickd`."""
        pairs = zip(self.embed, paired_maps(self, student, teacher), strict=True)
        return {"ickd": torch.stack([channel_gap(e(s.flatten(2)), t.flatten(2)) for e, (s, t) in pairs]).sum()}


def channel_gap(student: Float[Tensor, "n c p"], teacher: Float[Tensor, "n c q"]) -> Float[Tensor, ""]:
    """Mean over samples and channels of the squared difference of channel correlations; (N, C, P) both."""
    mine, theirs = (F.normalize(x @ x.transpose(1, 2), dim=2) for x in (student, teacher))
    return (mine - theirs).square().sum(2).mean()
