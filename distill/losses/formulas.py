"""The mathematics of every divergence: its value and its gradient, each in one place.

p is the teacher's distribution and q the student's, classes last; lp and lq are their logarithms. A formula says

- `terms(lp, lq)`: what each class adds to the divergence, differentiable any number of times;
- `gradient(lp, lq, factor, scratch)`: the same terms; lq becomes the gradient at the student's logits times `factor` (a
  number, or one per row), and lp and scratch are used up. It starts from one of two slopes: u = dD/d(log q), which is
  u - q sum(u) at the logits, or r = dD/dq, which is q (r - sum(q r)) there;
  Written by hand because it pays: at (1024, 1000) float32 on one CPU core, autograd of `terms` takes 1.2 to 1.6 times
  as long for the skew, alpha-beta and Jensen-Shannon divergences, 2 times for total variation, 3 to 4 times for the
  others, and 4 to 6 times the memory;
- `mirror`: the formula with the roles of p and q exchanged, hence with the gradient at the teacher's logits.
"""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# Logits of -inf become this before any arithmetic: probability 0 exactly, and no inf - inf or 0 * inf further on.
MASKED = -1e30

Factor = float | Tensor


def widest_dtype(x: Tensor) -> torch.dtype:
    """float64, but on Apple's GPUs, which have none."""
    return torch.float32 if x.device.type == "mps" else torch.float64


class Formula(Protocol):
    """A divergence D(p, q)."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:
        """What each class adds."""

    def gradient(self, lp: Tensor, lq: Tensor, factor: Factor, scratch: Tensor) -> Tensor:
        """The terms; lq becomes the gradient at the student's logits."""

    @property
    def mirror(self) -> "Formula":
        """D(q, p) as a formula."""


class ForwardKL(NamedTuple):
    """KL(p || q) (arXiv:1503.02531); u = -p."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return _relative_entropy(lp, lq)

    def gradient(self, lp: Tensor, lq: Tensor, factor: Factor, scratch: Tensor) -> Tensor:  # noqa: D102
        p = _exp(lp, scratch)
        terms = lp.sub_(lq).mul_(p)
        _from_u(p.mul_(-factor), lq)
        return terms

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return ReverseKL()


class ReverseKL(NamedTuple):
    """KL(q || p); r = log q - log p."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return _relative_entropy(lq, lp)

    def gradient(self, lp: Tensor, lq: Tensor, factor: Factor, scratch: Tensor) -> Tensor:  # noqa: D102
        q = _exp(lq, scratch)
        opposite = lp.sub_(lq)
        _from_r(torch.mul(opposite, -factor, out=lq), q)
        return opposite.mul_(q).neg_()

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return ForwardKL()


class SymmetricKL(NamedTuple):
    """[KL(p || q) + KL(q || p)] / 2; the mean of both gradients, q - p and that of r = log q - log p."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return (_relative_entropy(lp, lq) + _relative_entropy(lq, lp)) / 2

    def gradient(self, lp: Tensor, lq: Tensor, factor: Factor, scratch: Tensor) -> Tensor:  # noqa: D102
        p = _exp(lp, scratch)
        q = lq.exp()
        difference = torch.sub(q, p, out=scratch)
        ratio = lq.sub_(lp)
        terms = torch.mul(ratio, difference, out=lp).mul_(0.5)
        _from_r(ratio, q)
        lq.add_(difference).mul_(factor).mul_(0.5)
        return terms

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return self


class JensenShannon(NamedTuple):
    """b KL(p || m) + (1-b) KL(q || m), m = b p + (1-b) q (arXiv:2306.13649); r = (1-b) log(q / m)."""

    beta: float

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        lm = _log_mixture(lp, lq, self.beta)
        return self.beta * lp.exp() * (lp - lm) + (1 - self.beta) * lq.exp() * (lq - lm)

    def gradient(self, lp: Tensor, lq: Tensor, factor: Factor, scratch: Tensor) -> Tensor:  # noqa: D102
        lm = _log_mixture(lp, lq, self.beta)
        terms = lp.sub_(lm).mul_(torch.add(lp, lm, out=scratch).exp_()).mul_(self.beta)
        q = _exp(lq, scratch)
        ratio = torch.sub(lq, lm, out=lm).mul_(1 - self.beta)
        _from_r(torch.mul(ratio, factor, out=lq), q)
        return terms.add_(ratio.mul_(q))

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return JensenShannon(1 - self.beta)


class SkewKL(NamedTuple):
    """KL(p || m), m = a p + (1-a) q (arXiv:2402.03898); r = -(1-a) p / m."""

    alpha: float

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return lp.exp() * (lp - _log_mixture(lp, lq, self.alpha))

    def gradient(self, lp: Tensor, lq: Tensor, factor: Factor, scratch: Tensor) -> Tensor:  # noqa: D102
        lm = _log_mixture(lp, lq, self.alpha)
        q = _exp(lq, scratch)
        ratio = torch.sub(lp, lm, out=lm)
        _from_r(torch.exp(ratio, out=lq).mul_(factor).mul_(self.alpha - 1), q)
        return ratio.mul_(lp.exp_())

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return SkewReverseKL(self.alpha)


class SkewReverseKL(NamedTuple):
    """KL(q || m), m = (1-a) p + a q (arXiv:2402.03898); r = log(q / m) - a q / m."""

    alpha: float

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return lq.exp() * (lq - _log_mixture(lq, lp, self.alpha))

    def gradient(self, lp: Tensor, lq: Tensor, factor: Factor, scratch: Tensor) -> Tensor:  # noqa: D102
        ratio = lq - _log_mixture(lq, lp, self.alpha)
        q = _exp(lq, scratch)
        slope = torch.sub(ratio, torch.exp(ratio, out=lp), alpha=self.alpha, out=lq)
        _from_r(slope.mul_(factor), q)
        return ratio.mul_(q)

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return SkewKL(self.alpha)


class AlphaBeta(NamedTuple):
    """-1/(ab) sum[p^a q^b - a/(a+b) p^(a+b) - b/(a+b) q^(a+b)] (arXiv:2505.04560); u = (q^(a+b) - p^a q^b) / a."""

    alpha: float
    beta: float

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        a, b, both = self.alpha, self.beta, self.alpha + self.beta
        # where p and q are close, the powers cancel to second order
        dtype, lp, lq = lp.dtype, lp.to(widest_dtype(lp)), lq.to(widest_dtype(lq))
        own = (a * (both * lp).exp() + b * (both * lq).exp()) / both
        return ((own - (a * lp + b * lq).exp()) / (a * b)).to(dtype)

    def gradient(self, lp: Tensor, lq: Tensor, factor: Factor, scratch: Tensor) -> Tensor:  # noqa: D102
        terms = self.terms(lp, lq)
        slope = torch.mul(lq, self.alpha + self.beta, out=scratch).exp_()
        slope.sub_(lp.mul_(self.alpha).add_(lq, alpha=self.beta).exp_()).div_(self.alpha)
        _from_u(slope.mul_(factor), lq)
        return terms

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return AlphaBeta(self.beta, self.alpha)


class TotalVariation(NamedTuple):
    """sum |p - q| / 2 (arXiv:2307.15190); r = sign(q - p) / 2."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return (lp.exp() - lq.exp()).abs() / 2

    def gradient(self, lp: Tensor, lq: Tensor, factor: Factor, scratch: Tensor) -> Tensor:  # noqa: D102
        q = _exp(lq, scratch)
        difference = torch.sub(q, lp.exp_(), out=lp).mul_(0.5)
        _from_r(torch.sign(difference, out=lq).mul_(factor).mul_(0.5), q)
        return difference.abs_()

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return self


class CrossEntropy(NamedTuple):
    """-sum p log q; u = -p."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return _cross_entropy(lp, lq)

    def gradient(self, lp: Tensor, lq: Tensor, factor: Factor, scratch: Tensor) -> Tensor:  # noqa: D102
        p = _exp(lp, scratch)
        terms = torch.mul(lq, p, out=lp).neg_()
        _from_u(p.mul_(-factor), lq)
        return terms

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return ReverseCrossEntropy()


class ReverseCrossEntropy(NamedTuple):
    """-sum q log p, the mirror of the cross-entropy; r = -log p."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return _cross_entropy(lq, lp)

    def gradient(self, lp: Tensor, lq: Tensor, factor: Factor, scratch: Tensor) -> Tensor:  # noqa: D102
        q = _exp(lq, scratch)
        _from_r(torch.mul(lp, factor, out=lq).neg_(), q)
        return lp.mul_(q).neg_()

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return CrossEntropy()


def _relative_entropy(la: Tensor, lb: Tensor) -> Tensor:
    a = la.exp()
    return (a * (la - lb)).masked_fill(_forbidden(a, lb), math.inf)


def _cross_entropy(la: Tensor, lb: Tensor) -> Tensor:
    a = la.exp()
    return (-a * lb).masked_fill(_forbidden(a, lb), math.inf)


def _forbidden(a: Tensor, lb: Tensor) -> Tensor:
    """Classes that b rules out (a logit of -inf) and a does not: there the divergence is infinite."""
    return (a > 0) & (lb < MASKED * 1e-5)


def _log_mixture(la: Tensor, lb: Tensor, weight: float) -> Tensor:
    """log(weight a + (1 - weight) b); on logarithms, because both a and b may underflow."""
    return torch.logaddexp(la + math.log(weight), lb + math.log1p(-weight))


def _exp(x: Tensor, out: Tensor) -> Tensor:
    """e^x into `out`: as a power of 2, which PyTorch computes three times as fast on a CPU."""
    return torch.mul(x, 1 / math.log(2), out=out).exp2_()


def _from_u(u: Tensor, lq: Tensor) -> None:
    """lq becomes the gradient at the logits, u - q sum(u)."""
    torch._log_softmax_backward_data(u, lq, -1, u.dtype, out=lq)


def _from_r(r: Tensor, q: Tensor) -> None:
    """r becomes the gradient at the logits, q (r - sum(q r))."""
    torch._softmax_backward_data(r, q, -1, r.dtype, grad_input=r)
