"""Knowledge distillation by softened outputs (Hinton et al., 1503.02531).

    loss = label_weight * CE(student, labels) + weight * T^2 * KL(softmax(teacher / T) || softmax(student / T))

Shapes: logits (N, C) or (N, C, *positions).
"""

from jaxtyping import Float
from torch import Tensor

from distill.losses import kl_divergence
from distill.methods.base import REDUCTIONS, Method, Reduction, one_of, positive
from distill.types import Batch, Outputs


class KD(Method):
    """The temperature-scaled KL divergence beside the labels' cross-entropy.

    Args:
        temperature: softens both distributions; above 0.
        weight: of the KL term.
        label_weight: of the cross-entropy.
        reduction: as `distill.losses.kl_divergence`; 'batchmean' is the KL, 'mean' is not.
        log_target: take the teacher's log_softmax rather than its softmax.
    """

    accepts_top_k = True
    chunked = True

    def __init__(
        self,
        temperature: float = 4.0,
        weight: float = 0.9,
        label_weight: float = 0.1,
        reduction: Reduction = "batchmean",
        log_target: bool = True,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.temperature = positive("temperature", temperature)
        self.reduction = one_of("reduction", reduction, REDUCTIONS)
        self.log_target = log_target

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `kd`."""
        return self.diverge(
            "kd", kl_divergence, student, teacher, batch, self.temperature, self.reduction, log_target=self.log_target
        )
