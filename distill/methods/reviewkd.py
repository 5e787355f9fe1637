"""Distilling knowledge via knowledge review (Chen et al., 2104.09044).

    reviewkd = sum over layers of HCL(fused student, teacher)
    HCL = sum over l of w_l MSE(pool_l(s), pool_l(t)) / sum w_l,  l = none, 4, 2, 1 a side,  w = 1, 1/2, 1/4, 1/8

Shapes: maps (N, C, H, W). From the deepest layer to the first, the student's map goes through a 1x1 convolution to
`middle` channels and is mixed with what came from the deeper layers, by two attention maps (N, 2, H, W) out of both;
a 3x3 convolution brings it to the teacher's channels. Levels of the pyramid that aren't smaller than the map are left
out.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.base import Example, Method, Taps
from distill.methods.fusion import Fusion, pyramid_distance
from distill.methods.projection import paired_maps
from distill.schedules import Cosine
from distill.types import Batch, Outputs


class ReviewKD(Method):
    """The distance of the teacher's layers from the student's same and deeper ones, fused.

    Args:
        student_layers, teacher_layers: taken in pairs, from the first to the deepest.
        max_channels: `middle` is the deepest student layer's number of channels, and at most this.
        warmup: share of the training over which the weight rises from 0; 20 of 240 epochs in the tables.
        weight: of the distance; 5 for resnet32x4 -> resnet8x4 in the shared CIFAR-100 tables, 0.6 for resnet56 ->
            resnet20.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("stages", "embedding"),
        teacher_layers: Sequence[str] = ("stages", "embedding"),
        max_channels: int = 512,
        warmup: float = 0.0833,
        weight: float = 5.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if max_channels < 1:
            raise ValueError(f"max_channels={max_channels}: must be 1 or more")
        self.taps = Taps.of(student_layers, teacher_layers)
        self.max_channels = max_channels
        self.schedules["weight"] = Cosine(warmup, final=1.0)

    def setup(self, example: Example) -> None:
        """Create the fusions, the deepest layer's first."""
        layers = paired_maps(self, example.student, example.teacher)[::-1]
        middle = min(self.max_channels, layers[0][0].shape[1])
        self.fusions = nn.ModuleList(
            Fusion(s.shape[1], middle, t.shape[1], fuses=i > 0) for i, (s, t) in enumerate(layers)
        )

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `reviewkd`."""
        deeper, losses = None, []
        for fuse, (s, t) in zip(self.fusions, paired_maps(self, student, teacher)[::-1], strict=True):
            fused, deeper = fuse(s, deeper, t.shape[2:])
            losses.append(pyramid_distance(fused, t))
        return {"reviewkd": torch.stack(losses).sum()}
