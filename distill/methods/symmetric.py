"""The mean of forward and reverse KL (Jeffreys' divergence, halved; a member of the family of f-distill, 2307.15190).

    loss = label_weight * CE(student, labels) + weight * T^2 * [KL(p || q) + KL(q || p)] / 2

p and q: softmax of the teacher's and the student's logits / T.

Shapes: logits (N, C) or (N, C, *positions).
"""

from jaxtyping import Float
from torch import Tensor

from distill.losses import symmetric_kl_divergence
from distill.methods.base import REDUCTIONS, Method, Reduction, one_of, positive
from distill.types import Batch, Outputs


class Symmetric(Method):
    """The KL divergence in both directions.

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
        """The term `symmetric`."""
        return self.diverge(
            "symmetric", symmetric_kl_divergence, student, teacher, batch, self.temperature, self.reduction
        )
