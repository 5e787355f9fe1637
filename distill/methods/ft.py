"""Factor transfer: Paraphrasing complex network (Kim et al., 1802.04977).

    ft = mean |Q(translator(student)) - Q(paraphraser(teacher))|^p2,  Q as in attention transfer with power p1
    reconstruction = MSE(decoder(paraphraser(teacher)), teacher)

Shapes: maps (N, C, H, W); factors (N, ratio * C_teacher, H, W). The paper fits the paraphraser before it teaches;
here it learns beside the student, from the reconstruction alone: the factors that the student sees are detached.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.at import attention
from distill.methods.base import Example, Method, Taps, positive
from distill.methods.projection import matched_maps, through
from distill.types import Batch, Outputs


class FT(Method):
    """The distance of the student's factors from the teacher's.

    Args:
        student_layers, teacher_layers: taken in pairs; the last stage in the paper.
        ratio: factor channels over the teacher's, above 0.
        p1: power within a factor's attention, above 0.
        p2: power of the distance, above 0.
        weight: of the factor distance, not of the reconstruction; 200 in the shared CIFAR-100 tables.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("last_stage",),
        ratio: float = 0.5,
        p1: float = 2.0,
        p2: float = 1.0,
        weight: float = 200.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)
        self.ratio = positive("ratio", ratio)
        self.p1, self.p2 = positive("p1", p1), positive("p2", p2)

    def setup(self, example: Example) -> None:
        """Create translators and paraphrasers."""
        layers = matched_maps(self, example.student, example.teacher, positions=True)
        channels = [(s.shape[1], t.shape[1], max(1, int(self.ratio * t.shape[1]))) for s, t in layers]
        self.translators = nn.ModuleList(_convolutions(s, s, k, k, norm=True) for s, _, k in channels)
        self.paraphrasers = nn.ModuleList(_convolutions(t, t, k, k) for _, t, k in channels)
        self.decoders = nn.ModuleList(_convolutions(k, k, t, t) for _, t, k in channels)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The terms `ft` and `reconstruction`, which trains the paraphraser alone."""
        layers = matched_maps(self, student, teacher, positions=True)
        distances, reconstructions = [], []
        networks = zip(self.translators, self.paraphrasers, self.decoders, strict=True)
        for (s, t), (translate, paraphrase, decode) in zip(layers, networks, strict=True):
            factor = through(paraphrase, t)
            reconstructions.append(F.mse_loss(through(decode, factor), t))
            distances.append(factor_distance(through(translate, s), factor.detach(), self.p1, self.p2))
        return {"ft": torch.stack(distances).sum(), "reconstruction": torch.stack(reconstructions).sum()}

    def weight_of(self, term: str) -> float:
        """`reconstruction` counts as it is, whatever `weight`."""
        return 1.0 if term == "reconstruction" else super().weight_of(term)


def factor_distance(
    student: Float[Tensor, "n k h w"], teacher: Float[Tensor, "n k h w"], p1: float, p2: float
) -> Float[Tensor, ""]:
    """The distance of two factors (N, K, H, W), a scalar."""
    return (attention(student, p1) - attention(teacher, p1)).abs().pow(p2).mean()


def _convolutions(*channels: int, norm: bool = False) -> nn.Sequential:
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        parts.append(nn.Conv2d(inputs, outputs, 3, padding=1))
        parts.extend([nn.BatchNorm2d(outputs)] if norm else [])
        parts.append(nn.LeakyReLU(0.1))
    return nn.Sequential(*parts)
