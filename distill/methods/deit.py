"""Distillation token: a second head learns from the teacher, beside the one for the labels (DeiT, 2012.12877).

    loss = label_weight * CE(class head, labels) + weight * CE(distillation head, argmax teacher)

For students with both heads, as timm's `deit_*_distilled_*`; `experiment=deit` has one. What they answer elsewhere,
validation and export included, is the mean of the two.

Shapes: logits of both heads (N, C), of the teacher (N, C).
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.methods.base import Method, Taps
from distill.methods.terms import LossTerms
from distill.methods.view import Trait
from distill.types import Batch, Outputs


class DeiT(Method):
    """Hard-label distillation through a head of its own.

    Args:
        student_layers: the class head and the distillation head, in this order.
        weight: of the distillation head's cross-entropy; 0.5 in the paper.
        label_weight: of the class head's.
    """

    needs: frozenset[Trait] = frozenset({"exclusive classes"})

    def __init__(
        self,
        student_layers: Sequence[str] = ("head", "head_dist"),
        weight: float = 0.5,
        label_weight: float = 0.5,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if len(student_layers) != 2:
            raise ValueError(f"student_layers={list(student_layers)}: name the class head and the distillation head")
        self.taps = Taps.of(student_layers, ())

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms `ce`, of the class head, and `deit`, of the distillation head."""
        by_labels = Outputs(student.features[self.taps.student[0]], student.features)
        return super().forward(by_labels, teacher, batch)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `deit`."""
        by_teacher = student.features[self.taps.student[1]]
        return {"deit": F.cross_entropy(by_teacher, teacher.logits.argmax(1))}

    def deployed_logits(self, student: Outputs) -> Tensor:
        """The mean of both heads, as such students answer outside of training."""
        by_labels, by_teacher = (student.features[layer] for layer in self.taps.student)
        return (by_labels + by_teacher) / 2
