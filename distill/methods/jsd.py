"""Generalised Jensen-Shannon divergence (GKD, Agarwal et al., 2306.13649).

    loss = label_weight * CE(student, labels) + weight * T^2 * [b KL(p || m) + (1 - b) KL(q || m)],  m = b p + (1 - b) q

p and q: softmax of the teacher's and the student's logits / T. The term falls to 0 as b nears 0 or 1: forward and
reverse KL are methods of their own (kd, reverse_kd), not its ends.

Shapes: logits (N, C) or (N, C, *positions).
"""

from jaxtyping import Float
from torch import Tensor

from distill.losses import js_divergence
from distill.methods.base import REDUCTIONS, Method, Reduction, one_of, positive
from distill.types import Batch, Outputs


class JSD(Method):
    """How far teacher and student are from their mixture.

    Args:
        beta: the teacher's share of the mixture, between 0 and 1, ends excluded.
        temperature: softens both distributions; above 0.
        weight: of the divergence.
        label_weight: of the cross-entropy.
        reduction: as `distill.losses.kl_divergence`.
    """

    accepts_top_k = True
    chunked = True

    def __init__(
        self,
        beta: float = 0.5,
        temperature: float = 4.0,
        weight: float = 0.9,
        label_weight: float = 0.1,
        reduction: Reduction = "batchmean",
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if not 0 < beta < 1:
            raise ValueError(
                f"beta={beta}: must be between 0 and 1; at 0 and 1 the divergence is 0 whatever the student says"
            )
        self.beta = beta
        self.temperature = positive("temperature", temperature)
        self.reduction = one_of("reduction", reduction, REDUCTIONS)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `jsd`."""
        return self.diverge(
            "jsd", js_divergence, student, teacher, batch, self.temperature, self.reduction, beta=self.beta
        )
