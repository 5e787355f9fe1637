"""SimKD: Knowledge distillation with the reused teacher classifier (Chen et al., 2203.14001).

    simkd = MSE(projector(student), teacher);  the deployed student answers W mean(projector(student))

Shapes: maps (N, C, H, W); the projector is a bottleneck of C_teacher / factor channels, with BatchNorm and, where the
teacher's features have no negative values, a ReLU behind it; W is the teacher's classifier, frozen. The student's own
classifier is neither trained nor used, and no labels are: `deploy` gives the network that is to be scored and saved.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.base import Example, Method, Taps, positive
from distill.methods.projection import matched, not_negative_anywhere, single, teacher_classifier
from distill.methods.replaced_head import ProjectedHead, WithReplacedHead
from distill.types import Batch, Outputs


class SimKD(Method):
    """The squared distance of the features that the teacher's classifier sees; its classifier goes with the student.

    Args:
        student_layers: one layer, a submodule's path.
        teacher_layers: one layer, whose average over positions is what the teacher's classifier sees.
        factor: the teacher's channels over the projector's, above 0.
        weight: of the distance; 1 in the paper.
        label_weight: of the cross-entropy of the student's own classifier, which the deployed student doesn't have.
    """

    needs_classifier = True

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("last_stage",),
        factor: float = 2.0,
        weight: float = 1.0,
        label_weight: float = 0.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)
        self.factor = positive("factor", factor)

    def setup(self, example: Example) -> None:
        """Create the head: projector, average, and the teacher's classifier."""
        s, t = single(self, example.student, example.teacher)
        classifier = teacher_classifier(self, example, t)
        channels = s.shape[1], max(1, int(t.shape[1] / self.factor)), t.shape[1]
        height, width = t.shape[2:]
        self.head = ProjectedHead(channels, classifier, relu=not_negative_anywhere(t), height=height, width=width)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `simkd`."""
        s, t = single(self, student, teacher)
        projected, aim = matched(self.head.project(s), t)
        return {"simkd": F.mse_loss(projected, aim)}

    def deployed_logits(self, student: Outputs) -> None:
        """Unknown in training: they would take another pass through the projector and its BatchNorm."""

    def deploy(self, backbone: nn.Module) -> nn.Module:
        """The backbone with the projector and the teacher's classifier in place of its own."""
        return WithReplacedHead(backbone, self.taps.student[0], self.head)
