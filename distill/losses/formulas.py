"""The mathematics of every divergence: its value and its gradient, each in one place.

p is the teacher's distribution and q the student's, classes last; lp and lq are their logarithms. A formula says

- `terms(lp, lq)`: what each class adds to the divergence, differentiable any number of times;
- `gradient(lp, lq, p, q)`: the same terms and the gradient at the student's logits, where p and q are both softmaxes.
  It may overwrite its four arguments. The slope u = dD/d(lq) turns into the gradient u - q sum(u) at the logits;
- `mirror`: the formula with the roles of p and q exchanged, whose gradient is therefore the one at the teacher's logits.
"""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# Logits of -inf become this before any arithmetic: probability 0 exactly, and no inf - inf or 0 * inf further on.
MASKED = -1e30


class Formula(Protocol):
    """A divergence D(p, q)."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:
        """What each class adds."""

    def gradient(self, lp: Tensor, lq: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """The terms, and the gradient at the student's logits."""

    @property
    def mirror(self) -> "Formula":
        """D(q, p) as a formula."""


class ForwardKL(NamedTuple):
    """KL(p || q) (arXiv:1503.02531); gradient q - p."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return _relative_entropy(lp, lq)

    def gradient(self, lp: Tensor, lq: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        return lp.sub_(lq).mul_(p), q.sub_(p)

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return ReverseKL()


class ReverseKL(NamedTuple):
    """KL(q || p); gradient q (log q - log p - KL)."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return _relative_entropy(lq, lp)

    def gradient(self, lp: Tensor, lq: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        terms = lq.sub_(lp).mul_(q)
        return terms, _at_logits(terms, q, out=p)

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return ForwardKL()


class SymmetricKL(NamedTuple):
    """[KL(p || q) + KL(q || p)] / 2; the mean of both gradients."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return (_relative_entropy(lp, lq) + _relative_entropy(lq, lp)) / 2

    def gradient(self, lp: Tensor, lq: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        difference = q - p
        ratio = lq.sub_(lp)
        terms = difference * ratio
        reverse = _at_logits(ratio.mul_(q), q, out=p)
        return terms.mul_(0.5), reverse.add_(difference).mul_(0.5)

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return self


class JensenShannon(NamedTuple):
    """b KL(p || m) + (1-b) KL(q || m), m = b p + (1-b) q (arXiv:2306.13649); u = (1-b) q (log q - log m)."""

    beta: float

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        lm = _log_mixture(lp, lq, self.beta)
        return self.beta * lp.exp() * (lp - lm) + (1 - self.beta) * lq.exp() * (lq - lm)

    def gradient(self, lp: Tensor, lq: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        lm = _log_mixture(lp, lq, self.beta)
        slope = lq.sub_(lm).mul_(q).mul_(1 - self.beta)
        terms = lp.sub_(lm).mul_(p).mul_(self.beta).add_(slope)
        return terms, _at_logits(slope, q, out=p)

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return JensenShannon(1 - self.beta)


class SkewKL(NamedTuple):
    """KL(p || m), m = a p + (1-a) q (arXiv:2402.03898); u = -(1-a) p q / m."""

    alpha: float

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return lp.exp() * (lp - _log_mixture(lp, lq, self.alpha))

    def gradient(self, lp: Tensor, lq: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        lm = _log_mixture(lp, lq, self.alpha)
        slope = lq.sub_(lm).exp_().mul_(p).mul_(self.alpha - 1)
        return lp.sub_(lm).mul_(p), _at_logits(slope, q, out=lm)

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return SkewReverseKL(self.alpha)


class SkewReverseKL(NamedTuple):
    """KL(q || m), m = (1-a) p + a q (arXiv:2402.03898); u = q (log q - log m + 1 - a q / m)."""

    alpha: float

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return lq.exp() * (lq - _log_mixture(lq, lp, self.alpha))

    def gradient(self, lp: Tensor, lq: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        ratio = lq.sub_(_log_mixture(lq, lp, self.alpha))
        slope = (ratio + 1).sub_(ratio.exp(), alpha=self.alpha).mul_(q)
        return ratio.mul_(q), _at_logits(slope, q, out=p)

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return SkewKL(self.alpha)


class AlphaBeta(NamedTuple):
    """-1/(ab) sum[p^a q^b - a/(a+b) p^(a+b) - b/(a+b) q^(a+b)] (arXiv:2505.04560); u = (q^(a+b) - p^a q^b) / a."""

    alpha: float
    beta: float

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        a, b, both = self.alpha, self.beta, self.alpha + self.beta
        own = (a * (both * lp).exp() + b * (both * lq).exp()) / both
        return (own - (a * lp + b * lq).exp()) / (a * b)

    def gradient(self, lp: Tensor, lq: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        slope = ((self.alpha + self.beta) * lq).exp_().sub_((self.alpha * lp).add_(lq, alpha=self.beta).exp_())
        return self.terms(lp, lq), _at_logits(slope.div_(self.alpha), q, out=p)

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return AlphaBeta(self.beta, self.alpha)


class TotalVariation(NamedTuple):
    """sum |p - q| / 2 (arXiv:2307.15190); u = sign(q - p) q / 2."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return (lp.exp() - lq.exp()).abs() / 2

    def gradient(self, lp: Tensor, lq: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        difference = (q - p).mul_(0.5)
        slope = difference.sign().mul_(q).mul_(0.5)
        return difference.abs_(), _at_logits(slope, q, out=p)

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return self


class CrossEntropy(NamedTuple):
    """-sum p log q; gradient q - p."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return _cross_entropy(lp, lq)

    def gradient(self, lp: Tensor, lq: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        return lq.mul_(p).neg_(), q.sub_(p)

    @property
    def mirror(self) -> Formula:  # noqa: D102
        return ReverseCrossEntropy()


class ReverseCrossEntropy(NamedTuple):
    """-sum q log p, the mirror of the cross-entropy; u = -q log p."""

    def terms(self, lp: Tensor, lq: Tensor) -> Tensor:  # noqa: D102
        return _cross_entropy(lq, lp)

    def gradient(self, lp: Tensor, lq: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        terms = lp.mul_(q).neg_()
        return terms, _at_logits(terms, q, out=p)

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


def _at_logits(slope: Tensor, q: Tensor, *, out: Tensor) -> Tensor:
    """The gradient at the logits from the one at the log-probabilities: u - q sum(u)."""
    return torch.addcmul(slope, q, slope.sum(-1, keepdim=True), value=-1, out=out)
