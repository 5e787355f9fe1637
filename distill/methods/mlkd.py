"""Multi-level logit distillation (Jin, Wang and Lin, CVPR 2023; not on arXiv).

    loss = label_weight * CE(student, labels)
         + weight * sum_T [T^2 KL(p || q) + |P P' - Q Q'|^2 / N + |P' P - Q' Q|^2 / C]

P and Q, with rows p and q: softmax of the teacher's and the student's logits / T; |.|^2 sums all squared entries.
The paper trains on two views of each image, weakly and strongly augmented; here the terms see the batch's one view.

Shapes: logits (N, C); (N, C, *positions) count as N * positions samples.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from distill.losses import kl_divergence
from distill.losses.logits import as_rows
from distill.methods.base import Method, positive
from distill.methods.view import Trait
from distill.types import Batch, Outputs


class MLKD(Method):
    """Imitates single answers, and how the answers of a batch correlate between samples and between classes.

    Args:
        temperatures: the terms are summed over them; each above 0.
        weight: of all terms.
        label_weight: of the cross-entropy.
        gather: compare the samples of all processes in a step, not each process its own; see `Method`.
    """

    needs: frozenset[Trait] = frozenset({"exclusive classes"})

    def __init__(
        self,
        temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
        weight: float = 0.9,
        label_weight: float = 0.1,
        gather: bool = False,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.gather = gather
        if not temperatures:
            raise ValueError("temperatures=[]: give at least one")
        self.temperatures = tuple(positive("temperatures", temperature) for temperature in temperatures)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The terms `mlkd_instance`, `mlkd_batch` and `mlkd_class`."""
        rows, teacher_rows = (self.gathered(as_rows(x.logits)) for x in (student, teacher))
        softened = [((rows / t).softmax(1), (teacher_rows / t).softmax(1)) for t in self.temperatures]
        return {
            "mlkd_instance": _sum(kl_divergence(rows, teacher_rows, temperature=t) for t in self.temperatures),
            "mlkd_batch": _sum(correlation_gap(q, p) for q, p in softened),
            "mlkd_class": _sum(correlation_gap(q.T, p.T) for q, p in softened),
        }


def correlation_gap(q: Tensor, p: Tensor) -> Tensor:
    """Squared difference of the Gram matrices of two (K, D) sets of vectors, over K."""
    return (p @ p.T - q @ q.T).square().sum() / len(q)


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()
