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
import torch.nn.functional as F
from torch import Tensor, nn

from distill.methods.base import Example, Method
from distill.methods.projection import paired, taps, through, widen
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
        self.taps = taps(student_layers, teacher_layers)
        self.max_channels = max_channels
        self.schedules["weight"] = Cosine(warmup, final=1.0)

    def prepare(self, example: Example) -> None:
        """Create the fusions, the deepest layer's first."""
        layers = paired(self, example.student, example.teacher)[::-1]
        middle = min(self.max_channels, layers[0][0].shape[1])
        self.fusions = nn.ModuleList(
            _Fusion(s.shape[1], middle, t.shape[1], fuses=i > 0) for i, (s, t) in enumerate(layers)
        )

    def imitate(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The term `reviewkd`."""
        deeper, losses = None, []
        for fuse, (s, t) in zip(self.fusions, paired(self, student, teacher)[::-1], strict=True):
            fused, deeper = fuse(s, deeper, t.shape[2:])
            losses.append(pyramid_distance(fused, widen(t)))
        return {"reviewkd": torch.stack(losses).sum()}


class _Fusion(nn.Module):
    def __init__(self, inputs: int, middle: int, outputs: int, *, fuses: bool) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(inputs, middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.attend = nn.Sequential(nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid()) if fuses else None
        self.leave = nn.Sequential(nn.Conv2d(middle, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor, deeper: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        x = through(self.enter, x)
        if self.attend is not None and deeper is not None:
            deeper = F.interpolate(deeper, x.shape[2:], mode="nearest")
            share = through(self.attend, torch.cat([x, deeper], 1))
            x = x * share[:, :1] + deeper * share[:, 1:]
        if x.shape[2:] != size:
            x = F.interpolate(x, tuple(size), mode="nearest")
        return through(self.leave, x), x


def pyramid_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """HCL of two maps of one shape (N, C, H, W), a scalar."""
    loss, total, weight = F.mse_loss(student, teacher), 1.0, 1.0
    for side in (4, 2, 1):
        if side < student.shape[2]:
            weight /= 2
            total += weight
            s, t = (F.adaptive_avg_pool2d(feature, side) for feature in (student, teacher))
            loss = loss + weight * F.mse_loss(s, t)
    return loss / total
