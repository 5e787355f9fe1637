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
from distill.losses.linear import LinearTeacher, linear_divergence
from distill.losses.sparse import SparseTeacher

__all__ = [
    "LinearTeacher",
    "SparseTeacher",
    "alpha_beta_divergence",
    "js_divergence",
    "kl_divergence",
    "linear_divergence",
    "reverse_kl_divergence",
    "skew_kl_divergence",
    "skew_reverse_kl_divergence",
    "soft_cross_entropy",
    "symmetric_kl_divergence",
    "total_variation",
]
