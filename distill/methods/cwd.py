"""Channel-wise distillation (Shu et al., 2011.13256).

    cwd = sum over layers of T^2 / (N C) * sum over samples and channels of KL(softmax(t / T) || softmax(s / T))

Shapes: maps (N, C, H, W), the softmax over the H W positions of a channel; s is the student's map, through a 1x1
convolution where channels differ.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.losses import kl_divergence
from distill.methods.base import Example, Method, Taps, positive
from distill.methods.projection import matched_maps, projector, through
from distill.types import Batch, Outputs


class CWD(Method):
    """The KL divergence of where each channel is active.

    Args:
        student_layers, teacher_layers: taken in pairs; the last stage in the paper.
        temperature: softens both distributions; above 0.
        weight: of the divergence; the paper's 50 for feature maps, of segmentation: it has no CIFAR setting.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("last_stage",),
        temperature: float = 4.0,
        weight: float = 50.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)
        self.temperature = positive("temperature", temperature)

    def setup(self, example: Example) -> None:
        """Create the projections where channels differ."""
        layers = matched_maps(self, example.student, example.teacher, positions=True)
        self.projectors = nn.ModuleList(projector(s, t) for s, t in layers)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `cwd`."""
        layers = zip(self.projectors, matched_maps(self, student, teacher, positions=True), strict=True)
        channels = [(_channels(through(project, s)), _channels(t)) for project, (s, t) in layers]
        return {"cwd": torch.stack([kl_divergence(s, t, temperature=self.temperature) for s, t in channels]).sum()}


def _channels(feature: Float[Tensor, "n c h w"]) -> Float[Tensor, "rows positions"]:
    return feature.flatten(2).flatten(0, 1)
