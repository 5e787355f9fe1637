"""SimKD: Knowledge distillation with the reused teacher classifier (Chen et al., 2203.14001).

    simkd = MSE(projector(student), teacher);  the deployed student answers W mean(projector(student))

Shapes: maps (N, C, H, W); the projector is a bottleneck of C_teacher / factor channels, with BatchNorm and, where the
teacher's features have no negative values, a ReLU behind it; W is the teacher's classifier, frozen. The student's own
classifier is neither trained nor used, and no labels are: `deploy` gives the network that is to be scored and saved.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from distill.methods.base import Example, Method, positive
from distill.methods.projection import (
    as_map,
    bottleneck,
    not_negative_anywhere,
    pairs,
    shrunk,
    tapped,
    taps,
    teacher_classifier,
    widen,
)
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

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("last_stage",),
        factor: float = 2.0,
        weight: float = 1.0,
        label_weight: float = 0.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = taps(student_layers, teacher_layers)
        self.factor = positive("factor", factor)

    def prepare(self, example: Example) -> None:
        """Create the head: projector, average, and the teacher's classifier."""
        ((s, t),) = pairs(self, example.student, example.teacher)
        classifier = teacher_classifier(self, example)
        (whole,) = tapped(self, example.student, example.teacher)[1]
        expected = example.teacher.logits
        if (classifier(whole.mean((2, 3))) - expected).abs().max() > 0.01 * expected.abs().max():
            raise ValueError(
                f"SimKD: teacher_layers={list(self.taps.teacher)}: its average is not what the teacher's classifier sees; "
                "name the layer that the network averages, or embedding"
            )
        middle = max(1, int(t.shape[1] / self.factor))
        parts = [*bottleneck(s.shape[1], middle, t.shape[1]), nn.BatchNorm2d(t.shape[1])]
        projector = nn.Sequential(*parts, nn.ReLU()) if not_negative_anywhere(t) else nn.Sequential(*parts)
        self.head = _Head(projector, classifier, s.shape[2], s.shape[3])

    def imitate(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The term `simkd`."""
        ((s, t),) = pairs(self, student, teacher)
        return {"simkd": F.mse_loss(widen(self.head.project(s)), widen(t))}

    def deploy(self, backbone: nn.Module) -> nn.Module:
        """The backbone with the projector and the teacher's classifier in place of its own."""
        return Reclassified(backbone, self.taps.student[0], self.head)


class _Head(nn.Module):
    """From the student's features to logits; at most height x width positions."""

    def __init__(self, projector: nn.Module, classifier: nn.Module, height: int, width: int) -> None:
        super().__init__()
        self.projector, self.classifier = projector, classifier
        self.height, self.width = height, width

    def project(self, feature: Tensor) -> Tensor:
        projected: Tensor = self.projector(shrunk(feature, self.height, self.width))
        return projected

    def forward(self, feature: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.project(as_map(feature, "SimKD: student_layers")).mean((2, 3)))
        return logits


class Reclassified(nn.Module):
    """A backbone whose answer is that of a head on one of its layers.

    Args:
        backbone: any network of images.
        layer: path of the submodule whose output the head sees.
        head: features to logits.
    """

    def __init__(self, backbone: nn.Module, layer: str, head: nn.Module) -> None:
        super().__init__()
        backbone.get_submodule(layer)
        self.backbone, self.layer, self.head = backbone, layer, head

    def forward(self, images: Tensor) -> Tensor:
        """(N, classes) logits for (N, C, H, W) images."""
        seen: list[Tensor] = []
        hook = self.backbone.get_submodule(self.layer).register_forward_hook(lambda *call: seen.append(call[2]))
        try:
            self.backbone(images)
        finally:
            hook.remove()
        logits: Tensor = self.head(seen[-1])
        return logits
