"""Neuron selectivity transfer (Huang and Wang, 1707.01219), with the polynomial kernel.

    nst = sum over layers of mean k(s, s') + mean k(t, t') - 2 mean k(s, t),  k(a, b) = (a . b)^2

Shapes: maps (N, C, H, W); s and t are the channels of one sample, each a unit vector of its H W positions, so that
the networks may differ in channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.methods.base import Method, Taps
from distill.methods.projection import matched_maps
from distill.types import Batch, Outputs


class NST(Method):
    """The squared maximum mean discrepancy of what the channels select.

    Args:
        student_layers, teacher_layers: taken in pairs.
        weight: of the discrepancy; 50 in the shared CIFAR-100 tables.
        label_weight: of the cross-entropy.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("stages",),
        teacher_layers: Sequence[str] = ("stages",),
        weight: float = 50.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `nst`."""
        layers = matched_maps(self, student, teacher, positions=True)
        return {"nst": torch.stack([_discrepancy(s, t) for s, t in layers]).sum()}


def _discrepancy(student: Float[Tensor, "n c h w"], teacher: Float[Tensor, "n d h w"]) -> Float[Tensor, ""]:
    s, t = (F.normalize(feature.flatten(2), dim=2) for feature in (student, teacher))
    return _kernel(s, s) + _kernel(t, t) - 2 * _kernel(s, t)


def _kernel(a: Float[Tensor, "n c positions"], b: Float[Tensor, "n d positions"]) -> Float[Tensor, ""]:
    return (a @ b.mT).square().mean()
