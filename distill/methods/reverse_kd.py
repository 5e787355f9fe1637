"""Reverse KL, which seeks the teacher's modes rather than covering them (MiniLLM, Gu et al., 2306.08543).

    loss = label_weight * CE(student, labels) + weight * T^2 * KL(softmax(student / T) || softmax(teacher / T))

Shapes: logits (N, C) or (N, C, *positions).
"""

from jaxtyping import Float
from torch import Tensor

from distill.losses import reverse_kl_divergence
from distill.methods.base import REDUCTIONS, Method, Reduction, one_of, positive
from distill.types import Batch, Outputs


class ReverseKD(Method):
    """The KL divergence from the student's softened distribution to the teacher's.

    Args:
        temperature: softens both distributions; above 0.
        weight: of the divergence.
        label_weight: of the cross-entropy.
        reduction: as `distill.losses.kl_divergence`.
    """

    accepts_top_k = True
    chunked = True

    def __init__(
        self,
        temperature: float = 4.0,
        weight: float = 0.9,
        label_weight: float = 0.1,
        reduction: Reduction = "batchmean",
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.temperature = positive("temperature", temperature)
        self.reduction = one_of("reduction", reduction, REDUCTIONS)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `reverse_kd`."""
        return self.diverge(
            "reverse_kd", reverse_kl_divergence, student, teacher, batch, self.temperature, self.reduction
        )
