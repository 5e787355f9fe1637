"""Skew KL, whose gradient stays bounded where the student has no mass (DistiLLM, Ko et al., 2402.03898).

    forward: loss = label_weight * CE(student, labels) + weight * T^2 * KL(p || a p + (1 - a) q)
    reverse: loss = label_weight * CE(student, labels) + weight * T^2 * KL(q || (1 - a) p + a q)

p and q: softmax of the teacher's and the student's logits / T.

Shapes: logits (N, C) or (N, C, *positions).
"""

from jaxtyping import Float
from torch import Tensor

from distill.losses import skew_kl_divergence, skew_reverse_kl_divergence
from distill.methods.base import REDUCTIONS, Method, Reduction, one_of, positive
from distill.types import Batch, Outputs


class Skew(Method):
    """The KL divergence to a mixture with a little of the distribution itself.

    Args:
        alpha: the distribution's own share of the mixture, at least 0 and below 1; 0 is the plain divergence.
        reverse: start from the student's distribution rather than the teacher's.
        temperature: softens both distributions; above 0.
        weight: of the divergence.
        label_weight: of the cross-entropy.
        reduction: as `distill.losses.kl_divergence`.
    """

    accepts_top_k = True
    chunked = True

    def __init__(
        self,
        alpha: float = 0.1,
        reverse: bool = False,
        temperature: float = 4.0,
        weight: float = 0.9,
        label_weight: float = 0.1,
        reduction: Reduction = "batchmean",
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha={alpha}: must be at least 0 and below 1; at 1 the divergence is always 0")
        self.alpha = alpha
        self.reverse = reverse
        self.temperature = positive("temperature", temperature)
        self.reduction = one_of("reduction", reduction, REDUCTIONS)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `skew`."""
        divergence = skew_reverse_kl_divergence if self.reverse else skew_kl_divergence
        return self.diverge(
            "skew", divergence, student, teacher, batch, self.temperature, self.reduction, alpha=self.alpha
        )
