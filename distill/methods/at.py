"""Attention transfer (Zagoruyko and Komodakis, 1612.03928).

    at = sum over layers of MSE(Q(student), Q(teacher)),  Q(A) = v / ||v||,  v = mean over channels of |A|^p

Shapes: maps (N, C, H, W), v (N, H W); nothing is projected, since channels are averaged away. The paper's formula has
the norm of the difference; its code and the tables, which this follows, the mean of the squares.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.methods.base import Method, Taps, positive
from distill.methods.projection import matched_maps
from distill.types import Batch, Outputs


class AT(Method):
    """The squared distance of attention maps.

    Args:
        student_layers, teacher_layers: taken in pairs.
        power: p, above 0; the paper's is 2.
        weight: of the attention term; 1000 in the shared CIFAR-100 tables.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("stages",),
        teacher_layers: Sequence[str] = ("stages",),
        power: float = 2.0,
        weight: float = 1000.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)
        self.power = positive("power", power)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `at`."""
        layers = matched_maps(self, student, teacher, positions=True)
        maps = [(attention(s, self.power), attention(t, self.power)) for s, t in layers]
        return {"at": torch.stack([F.mse_loss(s, t) for s, t in maps]).sum()}


def attention(feature: Float[Tensor, "n c h w"], power: float) -> Float[Tensor, "n positions"]:
    """Where a map (N, C, H, W) is active: unit vectors (N, H W)."""
    return F.normalize(feature.abs().pow(power).mean(1).flatten(1))
