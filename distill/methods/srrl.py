"""Softmax regression representation learning (Yang et al., ICLR 2021; not on arXiv).

    srrl_feature = MSE(r, e),  srrl_logits = MSE(W r, teacher's logits),  r = mean over positions of connector(student)

Shapes: the student's map (N, C, H, W), r and the teacher's embedding e (N, D), logits (N, classes); W is the
teacher's own classifier, frozen. The connector is a 1x1 convolution, BatchNorm and, where e has no negative values, a
ReLU.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.losses.logits import precise
from distill.methods.base import Example, Method, Taps
from distill.methods.projection import connector, not_negative_anywhere, single, teacher_classifier, through
from distill.types import Batch, Outputs


class SRRL(Method):
    """The student's features must mean the same to the teacher's classifier.

    Args:
        student_layers: one layer, what the student averages into its embedding.
        teacher_layers: one layer, what the teacher's classifier sees.
        weight: of both terms; 1 in the paper.
        label_weight: of the cross-entropy.
    """

    accepts_pooled = True
    needs_classifier = True
    raw_logits = True

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("embedding",),
        weight: float = 1.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)

    def setup(self, example: Example) -> None:
        """Create the connector and take the teacher's classifier."""
        s, e = single(self, example.student, example.teacher)
        self.connector = connector(s, e, relu=not_negative_anywhere(e))
        self.classifier = teacher_classifier(self, example, e)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The terms `srrl_feature` and `srrl_logits`."""
        s, e = single(self, student, teacher)
        regressed = through(self.connector, s).mean((2, 3))
        logits = through(self.classifier, regressed)
        return {
            "srrl_feature": F.mse_loss(regressed, e.mean((2, 3))),
            "srrl_logits": F.mse_loss(logits, precise(teacher.logits)),
        }
