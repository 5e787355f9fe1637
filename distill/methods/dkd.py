"""Decoupled knowledge distillation (Zhao et al., 2203.08679).

    loss = label_weight * CE(student, labels) + weight * (alpha * TCKD + beta * NCKD)
    TCKD = T^2 KL of (p_true, 1 - p_true);  NCKD = T^2 KL of the other classes' probabilities among themselves

1 - p_true comes from the log-sum-exp of the other logits, and the true class is taken out rather than masked by a large
negative number: nothing underflows or leaks, however sure the networks are.

Shapes: logits (N, C) or (N, C, *positions).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from distill.losses import kl_divergence
from distill.losses.logits import as_rows, split_classes
from distill.methods.base import Method, classes_of, not_negative, positive
from distill.methods.view import Trait
from distill.schedules import Ramp, share
from distill.types import Batch, Outputs


class DKD(Method):
    """Imitates how sure the teacher is of the true class, and how it ranks the others, each with a weight of its own.

    Args:
        temperature: softens both distributions; above 0.
        alpha: of the true class's term.
        beta: of the other classes' term.
        weight: of both.
        label_weight: of the cross-entropy.
        warmup: share of the training in which `weight` rises linearly from 0.
    """

    needs_classes = True
    needs: frozenset[Trait] = frozenset({"exclusive classes"})

    def __init__(
        self,
        temperature: float = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        weight: float = 1.0,
        label_weight: float = 1.0,
        warmup: float = 0.0833,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.temperature = positive("temperature", temperature)
        self.alpha = not_negative("alpha", alpha)
        self.beta = not_negative("beta", beta)
        if share("warmup", warmup) > 0:
            self.schedules["weight"] = Ramp(until=warmup)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The terms `tckd` and `nckd`."""
        classes = classes_of(batch)
        mine, others = split_classes(as_rows(student.logits), classes)
        theirs, teacher_others = split_classes(as_rows(teacher.logits), classes)
        true = kl_divergence(
            self._true_or_not(mine, others), self._true_or_not(theirs, teacher_others), temperature=self.temperature
        )
        among_others = kl_divergence(others, teacher_others, temperature=self.temperature)
        return {"tckd": true, "nckd": among_others}

    def weight_of(self, term: str) -> float:
        """`alpha` and `beta` count beside `weight`."""
        return super().weight_of(term) * {"tckd": self.alpha, "nckd": self.beta}.get(term, 1.0)

    def _true_or_not(self, true: Float[Tensor, "n 1"], others: Float[Tensor, "n c"]) -> Float[Tensor, "n 2"]:
        """(N, 2) logits whose softmax at T is (p_true, 1 - p_true)."""
        rest = self.temperature * (others / self.temperature).logsumexp(1, keepdim=True)
        return torch.cat([true, rest], dim=1)
