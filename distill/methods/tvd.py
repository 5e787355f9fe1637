"""Total variation distance (f-distill, Wen et al., 2307.15190).

    loss = label_weight * CE(student, labels) + weight * T^2 * 1/2 sum |p - q|

p and q: softmax of the teacher's and the student's logits / T.

Shapes: logits (N, C) or (N, C, *positions).
"""

from jaxtyping import Float
from torch import Tensor

from distill.losses import total_variation
from distill.methods.base import REDUCTIONS, Method, Reduction, one_of, positive
from distill.types import Batch, Outputs


class TVD(Method):
    """Half the absolute difference of the softened distributions.

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
        """The term `tvd`."""
        return self.diverge("tvd", total_variation, student, teacher, batch, self.temperature, self.reduction)
