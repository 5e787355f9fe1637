"""Divergences stated a second time, in float64 and on probabilities: nothing here is shared with the package."""

import torch
import torch.nn.functional as F
from torch import Tensor

import distill.losses as losses

ALL = {
    "kl": (losses.kl_divergence, {}),
    "reverse": (losses.reverse_kl_divergence, {}),
    "symmetric": (losses.symmetric_kl_divergence, {}),
    "js": (losses.js_divergence, {"beta": 0.3}),
    "skew": (losses.skew_kl_divergence, {"alpha": 0.1}),
    "skew_reverse": (losses.skew_reverse_kl_divergence, {"alpha": 0.2}),
    "alpha_beta": (losses.alpha_beta_divergence, {"alpha": 0.6, "beta": 0.5}),
    "tv": (losses.total_variation, {}),
    "cross_entropy": (losses.soft_cross_entropy, {}),
}


def between(name: str, p: Tensor, q: Tensor) -> Tensor:
    """Terms of a divergence of probabilities, as the papers print them."""

    def kl(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(a > 0, a * (a.log() - b.log()), torch.zeros_like(a))

    if name == "js":
        m = 0.3 * p + 0.7 * q
        return 0.3 * kl(p, m) + 0.7 * kl(q, m)
    return {
        "kl": lambda: kl(p, q),
        "reverse": lambda: kl(q, p),
        "symmetric": lambda: (kl(p, q) + kl(q, p)) / 2,
        "skew": lambda: kl(p, 0.1 * p + 0.9 * q),
        "skew_reverse": lambda: kl(q, 0.8 * p + 0.2 * q),
        "alpha_beta": lambda: -(p**0.6 * q**0.5 - 0.6 / 1.1 * p**1.1 - 0.5 / 1.1 * q**1.1) / (0.6 * 0.5),
        "tv": lambda: (p - q).abs() / 2,
        "cross_entropy": lambda: -p * q.log(),
    }[name]()


def oracle(name: str, s: Tensor, t: Tensor, temperature: float = 1.0) -> Tensor:
    """T^2 times the terms, classes in dimension 1, float64."""
    p, q = F.softmax(t.double() / temperature, 1), F.softmax(s.double() / temperature, 1)
    return between(name, p, q) * temperature**2


def with_gradients(loss, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The loss and its gradients at copies of tensors."""
    leaves = [x.detach().clone().requires_grad_() for x in tensors]
    value = loss(*leaves)
    value.backward()
    return value.detach(), *(x.grad for x in leaves)


def relative(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    scale = b.double().abs().max().item()
    return (a.double() - b.double()).abs().max().item() / (scale or 1.0)
