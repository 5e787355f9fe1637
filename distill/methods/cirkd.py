"""Cross-image relational distillation for segmentation (CIRKD, Yang et al., 2204.06986).

    cirkd_pixel  = mean over positions i and images m of KL(softmax(t_i . t_m / T) || softmax(s_i . s_m / T))
    cirkd_region = mean over positions i of KL(softmax(t_i . r / T) || softmax(g(s_i) . r / T))

Shapes: maps (N, C, H, W), averaged down to at most `size` x `size` positions; s_i and t_i (C,) are features of length
1, s_m and t_m (C, H W) those of another image, r (C, classes) the teacher's mean features of each class, of length 1.
g goes from the student's channels to the teacher's: conv1x1, ReLU, conv1x1. The paper draws r from queues of past
batches; here they are of the classes in the batch, so that a step depends on its batch alone.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.losses import kl_divergence
from distill.methods.base import Example, Method, Taps, not_negative, positive
from distill.methods.masks import class_means, classes_at
from distill.methods.projection import matched, shrunk, single, through
from distill.methods.view import Trait
from distill.types import Batch, Outputs


class CIRKD(Method):
    """How alike pixels are to those of all images of a batch, and to the regions of each class.

    Args:
        student_layers, teacher_layers: one of each; the last map before the logits in the paper.
        temperature: of the similarities, above 0.
        pixel, region: of the two terms.
        size: most positions of a side that are compared; the cost grows with its fourth power.
        weight: of both.
        label_weight: of the cross-entropy.
        gather: compare the samples of all processes in a step, not each process its own; see `Method`.
    """

    needs_logits = False
    needs_classes = True
    raw_logits = True
    needs: frozenset[Trait] = frozenset({"a class for each position"})

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("last_stage",),
        temperature: float = 0.1,
        pixel: float = 1.0,
        region: float = 0.1,
        size: int = 16,
        weight: float = 1.0,
        label_weight: float = 1.0,
        gather: bool = False,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if size < 1:
            raise ValueError(f"size={size}: must be 1 or more positions")
        self.taps = Taps.of(student_layers, teacher_layers)
        self.temperature = positive("temperature", temperature)
        self.pixel = not_negative("pixel", pixel)
        self.region = not_negative("region", region)
        self.size = size
        self.gather = gather

    def setup(self, example: Example) -> None:
        """Create the projection to the teacher's channels."""
        s, t = self._maps(example.student, example.teacher)
        inputs, outputs = s.shape[1], t.shape[1]
        self.project = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU(), nn.Conv2d(outputs, outputs, 1))

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The terms `cirkd_pixel` and `cirkd_region`."""
        s, t = self._maps(student, teacher)
        classes = self.gathered(classes_at(t, batch).flatten(1))
        ours, theirs, projected = (self.gathered(_directions(x)) for x in (s, t, through(self.project, s)))
        means, counts = class_means(theirs.flatten(0, 1)[None], classes.flatten()[None], student.logits.shape[1])
        regions = F.normalize(means[0], dim=1)
        absent = (counts == 0) & counts.any()  # none is where no position counts: all similarities are 0 then
        there = [(x @ regions.T).masked_fill(absent, -torch.inf).flatten(0, 1) for x in (projected, theirs)]
        return {
            "cirkd_pixel": self._divergence(_likeness(ours), _likeness(theirs)),
            "cirkd_region": self._divergence(*there),
        }

    def weight_of(self, term: str) -> float:
        """`pixel` and `region` count beside `weight`."""
        return super().weight_of(term) * {"cirkd_pixel": self.pixel, "cirkd_region": self.region}.get(term, 1.0)

    def _maps(self, student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
        s, t = matched(*single(self, student, teacher))
        return shrunk(s, self.size, self.size), shrunk(t, self.size, self.size)

    def _divergence(self, student: Float[Tensor, "rows k"], teacher: Float[Tensor, "rows k"]) -> Float[Tensor, ""]:
        return kl_divergence(student, teacher, temperature=self.temperature, temperature_squared=False)


def _directions(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p c"]:
    return F.normalize(x.flatten(2).mT, dim=2)


def _likeness(x: Float[Tensor, "n p c"]) -> Float[Tensor, "rows p"]:
    """Of each position with those of each image: (N P N, P)."""
    n, p, _ = x.shape
    flat = x.flatten(0, 1)
    return (flat @ flat.T).view(n * p * n, p)
