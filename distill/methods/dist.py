"""Distillation from a stronger teacher by correlations (DIST, Huang et al., 2205.10536).

    loss = label_weight * CE(student, labels) + weight * T^2 * [beta (1 - rho_rows) + gamma (1 - rho_columns)]

rho: mean Pearson correlation of the softened probabilities, along the classes of a sample (rows) and along the samples
of a class (columns).

Shapes: logits (N, C) or (N, C, *positions).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.losses.logits import as_rows
from distill.methods.base import Method, not_negative, positive
from distill.methods.view import Trait
from distill.types import Batch, Outputs


class DIST(Method):
    """Asks for the teacher's relations between classes and between samples rather than for its exact probabilities.

    Args:
        temperature: softens both distributions; above 0.
        beta: of the correlation within samples.
        gamma: of the correlation within classes.
        weight: of both.
        label_weight: of the cross-entropy.
        gather: compare the samples of all processes in a step, not each process its own; see `Method`.
    """

    needs: frozenset[Trait] = frozenset({"exclusive classes"})

    def __init__(
        self,
        temperature: float = 4.0,
        beta: float = 1.0,
        gamma: float = 1.0,
        weight: float = 2.0,
        label_weight: float = 1.0,
        gather: bool = False,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.gather = gather
        self.temperature = positive("temperature", temperature)
        self.beta = not_negative("beta", beta)
        self.gamma = not_negative("gamma", gamma)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The terms `dist_rows` and `dist_columns`."""
        q = (self.gathered(as_rows(student.logits)) / self.temperature).softmax(1)
        p = (self.gathered(as_rows(teacher.logits)) / self.temperature).softmax(1)
        squared = self.temperature**2
        return {
            "dist_rows": squared * (1 - _correlation(q, p, dim=1)),
            "dist_columns": squared * (1 - _correlation(q, p, dim=0)),
        }

    def weight_of(self, term: str) -> float:
        """`beta` and `gamma` count beside `weight`."""
        return super().weight_of(term) * {"dist_rows": self.beta, "dist_columns": self.gamma}.get(term, 1.0)


def _correlation(a: Float[Tensor, "n c"], b: Float[Tensor, "n c"], dim: int) -> Float[Tensor, ""]:
    """Mean Pearson correlation along `dim`; 0 for what is constant."""
    a, b = (x - x.mean(dim, keepdim=True) for x in (a, b))
    return F.cosine_similarity(a, b, dim=dim).mean()
