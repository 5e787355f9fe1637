"""Intra-class feature variation distillation for segmentation (IFVD, Wang et al., 2008.05750).

    ifvd = sum over layers of the mean over images, and over positions that count, of (cos(s, p_s) - cos(t, p_t))^2

Shapes: maps (N, C, H, W), s and t (C,) at a position; p is the prototype of the position's true class, the mean of
the network's own features over all positions of that class in the same image. Channels need not be as many. Masks are
brought to the size of the maps by their nearest pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from distill.methods.base import Method, Taps
from distill.methods.masks import class_means, classes_at
from distill.methods.projection import matched_maps
from distill.methods.view import Trait
from distill.types import Batch, Outputs


class IFVD(Method):
    """How near positions are to their class's prototype.

    Args:
        student_layers, teacher_layers: taken in pairs; the last map before the logits in the paper.
        weight: of the squares.
        label_weight: of the cross-entropy.
    """

    needs_logits = False
    needs_classes = True
    raw_logits = True
    needs: frozenset[Trait] = frozenset({"a class for each position"})

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("last_stage",),
        weight: float = 200.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `ifvd`."""
        terms = []
        for s, t in matched_maps(self, student, teacher, positions=True):
            classes = classes_at(s, batch).flatten(1)
            ours, theirs = (_nearness(x, classes, student.logits.shape[1]) for x in (s, t))
            counting = classes >= 0
            squares = ((ours - theirs).square() * counting).sum(1)
            terms.append((squares / counting.sum(1).clamp_min(1)).mean())
        return {"ifvd": torch.stack(terms).sum()}


def _nearness(x: Float[Tensor, "n c h w"], classes: Int[Tensor, "n p"], count: int) -> Float[Tensor, "n p"]:
    """Cosine of each position's features with its class's prototype."""
    features = x.flatten(2).mT
    prototypes, _ = class_means(features, classes, count)
    own = prototypes.gather(1, classes.clamp(min=0)[..., None].expand_as(features))
    return F.cosine_similarity(features, own, dim=2)
