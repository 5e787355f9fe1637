"""Localisation distillation of boxes whose edges are distributions (LD, Zheng et al., 2102.12252).

    ld = T^2 * sum over positions of w * mean over the four edges of KL(softmax(t / T) || softmax(s / T)) / sum of w

Shapes: s and t (N, 4, bins, A) are what the heads say of the distance from each of A positions to each edge of a box. w
(N, A) is the score of the teacher's likeliest class there. The paper takes the positions that are assigned to a box and
those near one that are not; by the teacher's score both count, by how sure it is, and no other does.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from distill.losses import kl_divergence
from distill.methods.base import Method, Taps, positive
from distill.methods.view import Trait
from distill.types import Batch, Outputs


class LD(Method):
    """The divergence of where both detectors see the edges of a box.

    Args:
        student_layers, teacher_layers: what the heads say of edges; one of each.
        temperature: softens both distributions; above 0.
        weight: of the divergence; with T^2 in it the paper's 0.25.
        label_weight: of the labels' loss.
    """

    needs: frozenset[Trait] = frozenset({"boxes"})
    raw_logits = True

    def __init__(
        self,
        student_layers: Sequence[str] = ("boxes",),
        teacher_layers: Sequence[str] = ("boxes",),
        temperature: float = 10.0,
        weight: float = 0.25,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)
        self.temperature = positive("temperature", temperature)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `ld`."""
        scores = teacher.logits.sigmoid().amax(1)
        terms = []
        for s, t in self.pairs(student, teacher):
            self._check(s, t, teacher.logits)
            weights = scores[:, None].expand(-1, 4, -1)  # the same for the four edges
            terms.append(
                kl_divergence(
                    s, t, temperature=self.temperature, reduction="positionmean", class_dim=2, weights=weights
                )
            )
        return {"ld": torch.stack(terms).sum()}

    def _check(self, student: Tensor, teacher: Tensor, logits: Tensor) -> None:
        shapes = [tuple(x.shape) for x in (student, teacher)]
        if any(len(shape) != 4 or shape[1] != 4 for shape in shapes) or logits.shape[-1] != shapes[1][-1]:
            raise ValueError(
                f"LD: {list(self.taps.student)} and {list(self.taps.teacher)} are of shapes {shapes[0]} and "
                f"{shapes[1]}; must be (images, 4, bins, positions), a distribution for each edge of a box: take "
                "detectors whose heads give one, such as gfl, or method=fgd or method=pkd"
            )
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"LD: the student's edges are of shape {shapes[0]}, the teacher's {shapes[1]}; give both networks as "
                "many bins, and positions at the same strides"
            )
