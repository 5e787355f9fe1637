"""Variational information distillation (Ahn et al., 1904.05835).

    vid = sum over layers of mean [(t - mu(s))^2 / v + log v] / 2,  v = softplus(scale) + 1e-5

Shapes: maps (N, C, H, W); mu is three 1x1 convolutions with ReLU between, to the teacher's channels; v (C_teacher,)
is learned, one variance a channel.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.losses.logits import precise
from distill.methods.base import Example, Method, Taps, positive
from distill.methods.projection import matched_maps, through
from distill.types import Batch, Outputs

LEAST_VARIANCE = 1e-5


class VID(Method):
    """The negative log-likelihood of the teacher's features, Gaussian given the student's.

    Args:
        student_layers, teacher_layers: taken in pairs.
        variance: what every channel's starts from, above 1e-5.
        weight: of the likelihood; 1 in the shared CIFAR-100 tables.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("stages",),
        teacher_layers: Sequence[str] = ("stages",),
        variance: float = 5.0,
        weight: float = 1.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if not LEAST_VARIANCE < variance < math.inf:
            raise ValueError(f"variance={variance}: must be a finite number above {LEAST_VARIANCE}")
        self.taps = Taps.of(student_layers, teacher_layers)
        self.variance = positive("variance", variance)

    def setup(self, example: Example) -> None:
        """Create the means' networks and the variances."""
        layers = matched_maps(self, example.student, example.teacher)
        scale = math.log(math.expm1(self.variance - LEAST_VARIANCE))
        self.means = nn.ModuleList(_mean(s.shape[1], t.shape[1]) for s, t in layers)
        self.scales = nn.ParameterList(nn.Parameter(torch.full((t.shape[1],), scale)) for _, t in layers)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `vid`."""
        layers = zip(self.means, self.scales, matched_maps(self, student, teacher), strict=True)
        losses = []
        for mean, scale, (s, t) in layers:
            variance = (F.softplus(precise(scale)) + LEAST_VARIANCE)[:, None, None]
            losses.append(((t - through(mean, s)).square() / variance + variance.log()).mean() / 2)
        return {"vid": torch.stack(losses).sum()}


def _mean(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 1, bias=False),
    )
