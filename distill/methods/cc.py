"""Correlation congruence (Peng et al., 1904.01802).

    loss = label_weight * CE(student, labels) + weight * sum_layers L
    form=gaussian: L = mean_ij (K_s - K_t)_ij^2,  K_ij = exp(-2 g) sum_{p<=order} (2 g)^p / p! cos(f_i, f_j)^p
    form=adjacent: L = mean_i sum_d |e_s - e_t|_id |e_s - e_t|_(i+1)d,  e = linear embeddings of the features

`gaussian` is the paper: the Gaussian kernel of unit vectors, expanded to `order`. `adjacent` is what its authors gave
to RepDistiller and what stands behind the published tables: it compares neighbours in the batch instead, so it depends
on the batch's order, and trains both embeddings. It is the default, with the tables' weight.

Shapes: features f (N, ...), flattened to (N, D); embeddings e (N, dim).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.base import Example, Method, Taps, one_of, positive
from distill.types import Batch, Outputs


class CC(Method):
    """How samples correlate shall be the same for student and teacher.

    Args:
        student_layers, teacher_layers: paired by position.
        form: "adjacent" as in the published tables, or "gaussian" as in the paper.
        dim: of the embeddings; for form=adjacent.
        gamma: the kernel's sharpness, above 0; for form=gaussian.
        order: of the kernel's expansion, 1 or more; for form=gaussian.
        weight: of the correlation term.
        label_weight: of the cross-entropy.
        gather: compare the samples of all processes in a step, not each process its own; see `Method`.
    """

    accepts_pooled = True
    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("embedding",),
        teacher_layers: Sequence[str] = ("embedding",),
        form: Literal["adjacent", "gaussian"] = "adjacent",
        dim: int = 128,
        gamma: float = 0.4,
        order: int = 2,
        weight: float = 0.02,
        label_weight: float = 1.0,
        gather: bool = False,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.gather = gather
        self.taps = Taps.of(student_layers, teacher_layers)
        self.form = one_of("form", form, ("adjacent", "gaussian"))
        self.dim, self.order = int(positive("dim", dim)), int(positive("order", order))
        self.gamma = positive("gamma", gamma)
        self.embed_student, self.embed_teacher = nn.ModuleList(), nn.ModuleList()

    @property
    def needs_example(self) -> bool:
        """Only to size the embeddings."""
        return self.form == "adjacent"

    def setup(self, example: Example) -> None:
        """Create the embeddings, if the form has any."""
        if self.form == "adjacent":
            for s, t in self.pairs(example.student, example.teacher):
                self.embed_student.append(nn.Linear(s.flatten(1).shape[1], self.dim))
                self.embed_teacher.append(nn.Linear(t.flatten(1).shape[1], self.dim))

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `cc`."""
        pairs = self.gathered_pairs(student, teacher)
        if self.form == "gaussian":
            gaps = [F.mse_loss(self._kernel(s), self._kernel(t)) for s, t in pairs]
        else:
            embed = zip(self.embed_student, self.embed_teacher, pairs, strict=True)
            gaps = [adjacent_correlation(mine(s), theirs(t)) for mine, theirs, (s, t) in embed]
        return {"cc": torch.stack(gaps).sum()}

    def _kernel(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
        direction = F.normalize(features, dim=1)
        cosine = 2 * self.gamma * direction @ direction.T
        expansion = torch.stack([cosine**p / math.factorial(p) for p in range(self.order + 1)]).sum(0)
        return math.exp(-2 * self.gamma) * expansion


def adjacent_correlation(student: Float[Tensor, "n d"], teacher: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Products of the absolute differences (N, D) of neighbours in the batch, summed over D; 0 for a single sample."""
    gap = (student - teacher).abs()
    return (gap[:-1] * gap[1:]).sum() / max(1, len(gap) - 1)
