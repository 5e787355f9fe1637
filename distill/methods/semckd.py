"""Cross-layer distillation with semantic calibration (Chen et al., 2012.03236).

    semckd = 1/(N S) sum over samples, student layers i and teacher layers j of a_ij MSE(p_ij(s_i), t_j)
    a = softmax over j of q_i . k_j / softness

Shapes: maps (N, C, H, W); p_ij is a bottleneck to the teacher's channels; q (N, S, E) and k (N, T, E) come from each
sample's similarities to the others of its batch, so that a layer learns which teacher layers to follow. Their
networks have as many inputs as a batch has samples, at most: here a batch is cut into groups of `group_size`, and a
smaller group is filled up with zeros, where the published code drops the last batch. With groups of the batch's size
this is the published form.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.base import Example, Method, Taps, positive
from distill.methods.projection import bottleneck, maps, matched, through
from distill.processes import own_part
from distill.types import Batch, Outputs


class SemCKD(Method):
    """The squared distance of every student layer from every teacher layer, by attention.

    Args:
        student_layers, teacher_layers: all against all; their numbers may differ.
        group_size: samples whose similarities are taken together, 4 or more; the batch size in the paper, 64.
        softness: of the attention, above 0.
        weight: of the distance; 400 in the paper, beside a KD term: `'method=[kd,semckd]'`.
        label_weight: of the cross-entropy.
        gather: compare the samples of all processes in a step, not each process its own; see `Method`.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("stages",),
        teacher_layers: Sequence[str] = ("stages",),
        group_size: int = 64,
        softness: float = 1.0,
        weight: float = 400.0,
        label_weight: float = 1.0,
        gather: bool = False,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.gather = gather
        if group_size < 4:
            raise ValueError(f"group_size={group_size}: must be 4 or more")
        self.taps = Taps.of(student_layers, teacher_layers)
        self.group_size = group_size
        self.softness = positive("softness", softness)

    def setup(self, example: Example) -> None:
        """Create the projections and the attention's networks."""
        ours, theirs = maps(self, example.student, example.teacher)
        self.queries = nn.ModuleList(_embedding(self.group_size) for _ in ours)
        self.keys = nn.ModuleList(_embedding(self.group_size) for _ in theirs)
        channels = [(s.shape[1], t.shape[1]) for s in ours for t in theirs]
        self.projectors = nn.ModuleList(bottleneck(s, 2 * t, t) for s, t in channels)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `semckd`."""
        ours, theirs = maps(self, student, teacher)
        distances = []
        for project, (s, t) in zip(self.projectors, [(s, t) for s in ours for t in theirs], strict=True):
            s, t = matched(s, t)
            distances.append((through(project, s) - t).square().mean((1, 2, 3)))
        weighted = self.attention(ours, theirs).flatten(1) * torch.stack(distances, 1)
        return {"semckd": weighted.sum(1).mean() / len(ours)}

    def attention(
        self, student: Sequence[Float[Tensor, "n _ _ _"]], teacher: Sequence[Float[Tensor, "n _ _ _"]]
    ) -> Float[Tensor, "n s t"]:
        """How much each student layer follows each teacher layer: (N, S, T), summing to 1 over T."""
        queries = torch.stack([self._embed(net, s) for net, s in zip(self.queries, student, strict=True)], 1)
        keys = torch.stack([self._embed(net, t) for net, t in zip(self.keys, teacher, strict=True)], 1)
        return (queries @ keys.mT / self.softness).softmax(2)

    def _embed(self, network: nn.Module, feature: Float[Tensor, "n ..."]) -> Float[Tensor, "n d"]:
        groups = torch.split(self.gathered(feature.flatten(1)), self.group_size)
        similarities = torch.cat([F.pad(g @ g.mT, (0, self.group_size - len(g))) for g in groups])
        if self.gather:
            similarities = own_part(similarities)
        return F.normalize(through(network, similarities), dim=1)


def _embedding(size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, size // 2), nn.ReLU(), nn.Linear(size // 2, size // 4))
