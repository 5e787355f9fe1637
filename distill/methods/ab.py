"""Activation boundaries (Heo et al., 1811.03233).

    ab = sum over layers of 2^(layer - last) / N * sum over neurons of
         relu(m - s)^2 where the teacher's neuron is on, relu(m + s)^2 where it is off

Shapes: maps (N, C, H, W); s is the student's map after a 1x1 convolution to the teacher's channels and BatchNorm,
always there, since a tapped stage has gone through its ReLU and so has no negative side. A neuron is on where its
value is above 0, before or after the ReLU. The paper does this before training on labels; here both are trained
jointly.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.base import Example, Method, Taps, positive
from distill.methods.projection import connector, matched_maps, through
from distill.types import Batch, Outputs


class AB(Method):
    """How far the student's neurons are from the teacher's side of the boundary.

    Args:
        student_layers, teacher_layers: taken in pairs, in the order of the network; each counts twice the one before.
        margin: m, by which a neuron should clear the boundary, above 0.
        weight: of the distance; 0.003 in the shared CIFAR-100 tables, there of the stage before the labels.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("stages",),
        teacher_layers: Sequence[str] = ("stages",),
        margin: float = 1.0,
        weight: float = 0.003,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)
        self.margin = positive("margin", margin)

    def setup(self, example: Example) -> None:
        """Create the connectors."""
        layers = matched_maps(self, example.student, example.teacher)
        self.connectors = nn.ModuleList(connector(s, t, relu=False) for s, t in layers)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `ab`."""
        layers = zip(self.connectors, matched_maps(self, student, teacher), strict=True)
        return {"ab": boundary_distance([(through(connect, s), t) for connect, (s, t) in layers], self.margin)}


def boundary_distance(
    layers: Sequence[tuple[Float[Tensor, "n ..."], Float[Tensor, "n ..."]]], margin: float
) -> Float[Tensor, ""]:
    """The weighted sum over layers; each a student's and a teacher's map of one shape (N, C, H, W)."""
    total = []
    for i, (s, t) in enumerate(layers):
        short = torch.where(t > 0, margin - s, margin + s).relu()
        total.append(short.square().sum() / len(s) / 2 ** (len(layers) - 1 - i))
    return torch.stack(total).sum()
