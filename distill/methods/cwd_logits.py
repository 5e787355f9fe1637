"""Channel-wise distillation of the logits' maps (Shu et al., 2011.13256).

    cwd_logits = T^2 / (N C) * sum over images and classes of KL(softmax(t / T) || softmax(s / T))

Shapes: logits (N, C, H, W), the softmax over the positions of a class that count: where each class is seen, rather than
which class is seen at a position.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from distill.losses import kl_divergence
from distill.methods.base import Method, positive
from distill.methods.view import Trait
from distill.types import Batch, Outputs


class CWDLogits(Method):
    """The KL divergence of where each class is seen.

    Args:
        temperature: softens both distributions; above 0.
        weight: of the divergence.
        label_weight: of the cross-entropy.
    """

    needs: frozenset[Trait] = frozenset({"a class for each position"})
    raw_logits = True

    def __init__(self, temperature: float = 4.0, weight: float = 3.0, label_weight: float = 1.0) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.temperature = positive("temperature", temperature)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `cwd_logits`."""
        s, t = student.logits, teacher.logits
        if batch.valid is not None:
            counting = batch.valid | ~batch.valid.any(2, keepdim=True).any(1, keepdim=True)  # all, of a blank mask
            s, t = (x.masked_fill(~counting[:, None], -torch.inf) for x in (s, t))
        rows = [x.flatten(2).flatten(0, 1) for x in (s, t)]
        return {"cwd_logits": kl_divergence(rows[0], rows[1], temperature=self.temperature)}
