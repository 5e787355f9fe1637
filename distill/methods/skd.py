"""Structured knowledge distillation: similarities of pairs of regions (SKD, Liu et al., 1903.04197).

    skd = sum over layers of 1 / (N R^2) sum over images and pairs of regions of (cos(t_i, t_j) - cos(s_i, s_j))^2

Shapes: maps (N, C, H, W); each is cut into R regions, a share of its sides long, and a region (C,) has the largest
value of each channel in it, as in the published code. Channels need not be as many. Its other two parts are
method=kd, pixel by pixel, and an adversarial term, which is not here.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.methods.base import Method, Taps
from distill.methods.projection import matched_maps
from distill.types import Batch, Outputs


class SKD(Method):
    """How alike the regions of an image are.

    Args:
        student_layers, teacher_layers: taken in pairs; the last map before the logits in the paper.
        region: side of a region as a share of the map's, above 0 and at most 1.
        weight: of the squares.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("last_stage",),
        region: float = 0.5,
        weight: float = 10.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if not 0 < region <= 1:
            raise ValueError(f"region={region}: must be above 0 and at most 1, a share of the map's side")
        self.taps = Taps.of(student_layers, teacher_layers)
        self.region = region

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `skd`."""
        layers = matched_maps(self, student, teacher, positions=True)
        return {"skd": torch.stack([F.mse_loss(self._likeness(s), self._likeness(t)) for s, t in layers]).sum()}

    def _likeness(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n r r"]:
        sides = [max(1, math.floor(side * self.region)) for side in x.shape[2:]]
        regions = F.normalize(F.max_pool2d(x, sides, ceil_mode=True).flatten(2), dim=1)
        return regions.mT @ regions
