"""The alpha-beta divergence, between forward (1, 0) and reverse (0, 1) KL and beyond (ABKD, Wang et al., 2505.04560).

    D = -1 / (a b) * sum[p^a q^b - a / (a + b) * p^(a+b) - b / (a + b) * q^(a+b)]
    loss = label_weight * CE(student, labels) + weight * T^2 * D

p and q: softmax of the teacher's and the student's logits / T. The published code leaves T^2 out: its weight of 32 at
T = 4 is 2 here.

Shapes: logits (N, C) or (N, C, *positions).
"""

from jaxtyping import Float
from torch import Tensor

from distill.losses import alpha_beta_divergence
from distill.methods.base import REDUCTIONS, Method, Reduction, one_of, positive
from distill.types import Batch, Outputs


class AlphaBeta(Method):
    """The alpha-beta divergence between the softened distributions.

    Args:
        alpha, beta: its exponents; neither they nor their sum may be 0, where it becomes another divergence.
        temperature: softens both distributions; above 0.
        weight: of the divergence.
        label_weight: of the cross-entropy.
        reduction: as `distill.losses.kl_divergence`.
    """

    accepts_top_k = True
    chunked = True

    def __init__(
        self,
        alpha: float = 0.8,
        beta: float = 0.3,
        temperature: float = 4.0,
        weight: float = 2.0,
        label_weight: float = 1.0,
        reduction: Reduction = "batchmean",
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if 0 in (alpha, beta, alpha + beta):
            raise ValueError(
                f"alpha={alpha} with beta={beta}: neither nor their sum may be 0; for KL use kd or reverse_kd"
            )
        self.alpha = alpha
        self.beta = beta
        self.temperature = positive("temperature", temperature)
        self.reduction = one_of("reduction", reduction, REDUCTIONS)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `alpha_beta`."""
        exponents = {"alpha": self.alpha, "beta": self.beta}
        return self.diverge(
            "alpha_beta", alpha_beta_divergence, student, teacher, batch, self.temperature, self.reduction, **exponents
        )
