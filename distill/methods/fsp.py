"""Flow of solution procedure: A gift from knowledge distillation (Yim et al., CVPR 2017; not on arXiv).

    fsp = sum over adjacent layers of MSE(G(student), G(teacher)),  G = bottom top^T / (H W)

Shapes: maps (N, C, H, W), of which the larger of two adjacent ones is averaged down; G (N, C_bottom, C_top). The
paper needs equal channels; elsewhere the student's go through 1x1 convolutions. It fits G before training on labels;
here both are trained jointly.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.base import Example, Method, Taps
from distill.methods.projection import matched, matched_maps, projector, through
from distill.types import Batch, Outputs


class FSP(Method):
    """The squared distance of the matrices that lead from a layer to the next.

    Args:
        student_layers, teacher_layers: taken in pairs, two or more, in the order of the network.
        weight: of the distance; 50 in the shared CIFAR-100 tables, there of the stage before the labels.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("stages",),
        teacher_layers: Sequence[str] = ("stages",),
        weight: float = 50.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)

    def setup(self, example: Example) -> None:
        """Create the projections where channels differ."""
        layers = matched_maps(self, example.student, example.teacher)
        if len(layers) < 2:
            raise ValueError(f"FSP: student_layers={list(self.taps.student)}: name two layers or more")
        self.projectors = nn.ModuleList(projector(s, t) for s, t in layers)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `fsp`."""
        layers = matched_maps(self, student, teacher)
        flows = _flows([through(project, s) for project, (s, _) in zip(self.projectors, layers, strict=True)])
        aims = _flows([t for _, t in layers])
        return {"fsp": torch.stack([F.mse_loss(s, t) for s, t in zip(flows, aims, strict=True)]).sum()}


def _flows(features: list[Tensor]) -> list[Tensor]:
    flows = []
    for bottom, top in pairwise(features):
        low, high = (feature.flatten(2) for feature in matched(bottom, top))
        flows.append(low @ high.mT / low.shape[2])
    return flows
