"""Losses: pure functions of tensors."""

from distill.losses.divergence import (
    alpha_beta_divergence,
    js_divergence,
    kl_divergence,
    reverse_kl_divergence,
    skew_kl_divergence,
    skew_reverse_kl_divergence,
    soft_cross_entropy,
    symmetric_kl_divergence,
    total_variation,
)
from distill.losses.linear import linear_divergence, linear_terms
from distill.losses.projection import LinearTeacher, Projection, linear_top_k
from distill.losses.sparse import SparseTeacher

__all__ = [
    "LinearTeacher",
    "Projection",
    "SparseTeacher",
    "alpha_beta_divergence",
    "js_divergence",
    "kl_divergence",
    "linear_divergence",
    "linear_terms",
    "linear_top_k",
    "reverse_kl_divergence",
    "skew_kl_divergence",
    "skew_reverse_kl_divergence",
    "soft_cross_entropy",
    "symmetric_kl_divergence",
    "total_variation",
]
