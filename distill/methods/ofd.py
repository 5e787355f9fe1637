"""A comprehensive overhaul of feature distillation (Heo et al., 1904.01866).

    ofd = sum over layers of 2^(layer - last) / N * sum over neurons of [s > a or a > 0] (s - a)^2,  a = max(t, m)

Shapes: maps (N, C, H, W); s is the student's map after a 1x1 convolution to the teacher's channels and BatchNorm; the
margin m (C,) is the mean of the teacher's negative values by channel. The paper allows to measure m in training or to
derive it from the BatchNorm before the tap; here it is measured, which asks nothing of the teacher's layers. Tap
before the ReLU for the paper's form; stages are tapped after it, and there m = 0.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.losses.logits import precise
from distill.methods.base import Example, Method, Taps
from distill.methods.projection import connector, matched_maps, through
from distill.processes import sum_over_processes
from distill.types import Batch, Outputs


class OFD(Method):
    """The partial squared distance to the teacher's features behind a margin ReLU.

    Args:
        student_layers, teacher_layers: taken in pairs, in the order of the network; each counts twice the one before.
        margin_momentum: share of a batch's measurement in the running margins, in (0, 1].
        weight: of the distance; 0.001 in the paper and the shared CIFAR-100 tables.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("stages",),
        teacher_layers: Sequence[str] = ("stages",),
        margin_momentum: float = 0.05,
        weight: float = 0.001,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if not 0 < margin_momentum <= 1:
            raise ValueError(f"margin_momentum={margin_momentum}: must be above 0 and at most 1")
        self.taps = Taps.of(student_layers, teacher_layers)
        self.margin_momentum = margin_momentum

    def setup(self, example: Example) -> None:
        """Create the connectors, and measure the first margins."""
        layers = matched_maps(self, example.student, example.teacher)
        self.connectors = nn.ModuleList(connector(s, t, relu=False) for s, t in layers)
        for i, (_, t) in enumerate(layers):
            self.register_buffer(f"margin{i}", _mean_below_zero(precise(t), torch.zeros(t.shape[1], device=t.device)))

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `ofd`; in training the margins move towards the batch's."""
        layers = matched_maps(self, student, teacher)
        total = []
        for i, (connect, (s, t)) in enumerate(zip(self.connectors, layers, strict=True)):
            margin = self.get_buffer(f"margin{i}")
            if self.training:
                margin.lerp_(_mean_below_zero(t, margin).to(margin.dtype), self.margin_momentum)
            total.append(partial_distance(through(connect, s), t, margin) / 2 ** (len(layers) - 1 - i))
        return {"ofd": torch.stack(total).sum()}


def partial_distance(
    student: Float[Tensor, "n c h w"], teacher: Float[Tensor, "n c h w"], margin: Float[Tensor, "c"]
) -> Float[Tensor, ""]:
    """One layer's distance: maps (N, C, H, W) and margins (C,) to a scalar."""
    target = teacher.maximum(margin[:, None, None])
    counted = (student > target) | (target > 0)
    return torch.where(counted, student - target, 0).square().sum() / len(student)


@torch.no_grad()
def _mean_below_zero(feature: Float[Tensor, "n c h w"], otherwise: Float[Tensor, "c"]) -> Float[Tensor, "c"]:
    """By channel, (C,), over all processes; where a channel has no negative value, what `otherwise` has."""
    total = feature.clamp(max=0).sum((0, 2, 3))
    total, count = sum_over_processes(torch.stack([total, (feature < 0).sum((0, 2, 3)).to(total)]))
    return torch.where(count > 0, total / count.clamp(min=1), otherwise)
