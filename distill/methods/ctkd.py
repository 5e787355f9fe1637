"""Curriculum temperature: the temperature is learned, against the student (CTKD, Li et al., 2211.16231).

    loss = label_weight * CE(student, labels) + weight * T^2 * KL(softmax(teacher / T) || softmax(student / T)),
    T = minimum + span * sigmoid(theta)

theta (one number, the paper's global version) climbs the loss that the student descends: its gradient is reversed, and
grows from nothing along half a cosine, so that the task hardens from easy to hard.

Shapes: logits (N, C) or (N, C, *positions).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.losses import kl_divergence
from distill.methods.base import Method, not_negative, positive
from distill.schedules import Ramp, share
from distill.types import Batch, Outputs


class CTKD(Method):
    """Knowledge distillation at a temperature that is trained to make the student's task harder.

    Args:
        minimum: lowest temperature; above 0.
        span: highest temperature less the lowest; above 0.
        reversal: factor on theta's reversed gradient.
        ramp: share of the training in which `reversal` rises from 0.
        weight: of the KL term.
        label_weight: of the cross-entropy.
    """

    def __init__(
        self,
        minimum: float = 1.0,
        span: float = 20.0,
        reversal: float = 1.0,
        ramp: float = 0.0417,
        weight: float = 0.9,
        label_weight: float = 0.1,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.minimum = positive("minimum", minimum)
        self.span = positive("span", span)
        self.reversal = not_negative("reversal", reversal)
        if share("ramp", ramp) > 0:
            self.schedules["reversal"] = Ramp(until=ramp, curve="cosine")
        self.theta = nn.Parameter(torch.ones(()))

    @property
    def temperature(self) -> Tensor:
        """The current temperature, a scalar; its gradient reaches theta reversed."""
        reversed_theta = (1 + self.reversal) * self.theta.detach() - self.reversal * self.theta
        return self.minimum + self.span * reversed_theta.sigmoid()

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `ctkd`."""
        return {"ctkd": kl_divergence(student.logits, teacher.logits, temperature=self.temperature)}
