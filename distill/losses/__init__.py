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

__all__ = [
    "alpha_beta_divergence",
    "js_divergence",
    "kl_divergence",
    "reverse_kl_divergence",
    "skew_kl_divergence",
    "skew_reverse_kl_divergence",
    "soft_cross_entropy",
    "symmetric_kl_divergence",
    "total_variation",
]
