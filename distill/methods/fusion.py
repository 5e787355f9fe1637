"""Feature fusion (for reviewkd): a layer fused with deeper ones, and a distance at several resolutions."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.projection import through


class Fusion(nn.Module):
    """Mixes a student's layer with what came from the deeper ones, and brings it to the teacher's channels.

    Args:
        inputs, middle, outputs: channels of the student's layer, of the mixture, and of the teacher's layer.
        fuses: whether there is a deeper layer.
    """

    def __init__(self, inputs: int, middle: int, outputs: int, *, fuses: bool) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(inputs, middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.attend = nn.Sequential(nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid()) if fuses else None
        self.leave = nn.Sequential(nn.Conv2d(middle, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))

    def forward(
        self, x: Float[Tensor, "n _ _ _"], deeper: Float[Tensor, "n middle _ _"] | None, size: Sequence[int]
    ) -> tuple[Float[Tensor, "n outputs h w"], Float[Tensor, "n middle h w"]]:
        """The fused map (N, outputs, *size), and the mixture (N, middle, *size) that goes on to the next layer."""
        x = through(self.enter, x)
        if self.attend is not None and deeper is not None:
            deeper = F.interpolate(deeper, x.shape[2:], mode="nearest")
            share = through(self.attend, torch.cat([x, deeper], 1))
            x = x * share[:, :1] + deeper * share[:, 1:]
        if x.shape[2:] != size:
            x = F.interpolate(x, tuple(size), mode="nearest")
        return through(self.leave, x), x


def pyramid_distance(student: Float[Tensor, "n c h w"], teacher: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """HCL of two maps of one shape (N, C, H, W), a scalar."""
    loss, total, weight = F.mse_loss(student, teacher), 1.0, 1.0
    for side in (4, 2, 1):
        if side < student.shape[2]:
            weight /= 2
            total += weight
            s, t = (F.adaptive_avg_pool2d(feature, side) for feature in (student, teacher))
            loss = loss + weight * F.mse_loss(s, t)
    return loss / total
