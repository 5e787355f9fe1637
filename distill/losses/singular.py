"""Singular vectors of feature maps, with gradients that stay finite."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def singular_vectors(
    feature: Float[Tensor, "n c h w"], rank: int
) -> tuple[Float[Tensor, "n c k"], Float[Tensor, "n k"]]:
    """The leading right singular vectors (N, C, K) of maps (N, C, H, W) as matrices (H W, C), and the values (N, K).

    K is the least of rank, C and H W. Values are those of each matrix scaled to norm 1. float32 or float64. The exact
    gradients are infinite where singular values meet; here they stay bounded.
    """
    with torch.autocast(feature.device.type, enabled=False):
        x = F.normalize(feature.flatten(1), dim=1).view_as(feature).flatten(2).mT  # the vectors don't know of the scale
        tall = x.shape[1] >= x.shape[2]
        vectors: Tensor = _Eigenvectors.apply(x.mT @ x if tall else x @ x.mT)
        vectors = vectors[:, :, -rank:].flip(2)
        right = vectors if tall else F.normalize(x.mT @ vectors, dim=1)
        return right, (x @ right).norm(dim=1)


class _Eigenvectors(torch.autograd.Function):
    """Of symmetric matrices, in rising order of their eigenvalues; 1 / gap in the gradient is bounded as gap -> 0."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        values: Tensor
        vectors: Tensor
        values, vectors = torch.linalg.eigh(matrix)
        ctx.save_for_backward(values, vectors)
        return vectors

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        values: Tensor
        vectors: Tensor
        values, vectors = ctx.saved_tensors
        gap = values[:, None, :] - values[:, :, None]
        inner = gap / (gap.square() + 1e-8) * (vectors.mT @ gradient)
        return vectors @ inner @ vectors.mT
