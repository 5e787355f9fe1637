"""FitNets: hints for thin deep nets (Romero et al., 1412.6550).

    fitnet = mean over layers of MSE(regressor(student), teacher)

Shapes: maps (N, C, H, W), the regressor going from the student's channels to the teacher's: a 1x1 convolution,
BatchNorm and, where the teacher's features have no negative values, a ReLU. The paper fits one middle layer before
training on labels; as in the shared CIFAR-100 tables the hint is trained jointly with the labels here, and every
tapped pair gives one.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.base import Example, Method, Taps
from distill.methods.projection import connector, matched_maps, not_negative_anywhere, through
from distill.types import Batch, Outputs


class FitNet(Method):
    """The squared distance of regressed features.

    Args:
        student_layers, teacher_layers: taken in pairs.
        weight: of the hint; 100 in the shared CIFAR-100 tables.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("stages",),
        teacher_layers: Sequence[str] = ("stages",),
        weight: float = 100.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)

    def setup(self, example: Example) -> None:
        """Create the regressors."""
        layers = matched_maps(self, example.student, example.teacher)
        self.regressors = nn.ModuleList(connector(s, t, relu=not_negative_anywhere(t)) for s, t in layers)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `fitnet`."""
        layers = zip(self.regressors, matched_maps(self, student, teacher), strict=True)
        hints = [F.mse_loss(through(regressor, s), t) for regressor, (s, t) in layers]
        return {"fitnet": torch.stack(hints).mean()}
