"""Divergences between what a teacher and a student say of a batch: pure functions of tensors.

All functions share their keywords (see `kl_divergence`). Arithmetic is at least float32; the loss comes back in at least
float32 and gradients in the dtype of the inputs. p is the teacher's distribution and q the student's.
"""

from collections.abc import Callable
from typing import Literal, TypedDict, Unpack

import torch
from torch import Tensor

Reduction = Literal["none", "sum", "mean", "batchmean", "positionmean"]
TeacherForm = Literal["logits", "probabilities", "log_probabilities"]
Formula = Callable[[Tensor, Tensor], Tensor]  # (log p, log q), classes last -> contributions of the classes


class Options(TypedDict, total=False):
    """Keywords that every divergence takes; `kl_divergence` says what they mean."""

    temperature: float | Tensor
    reduction: Reduction
    teacher_is: TeacherForm
    temperature_squared: bool
    class_dim: int
    mask: Tensor | None
    weights: Tensor | None
    validate: bool


def kl_divergence(
    student_logits: Tensor, teacher: Tensor, *, log_target: bool = True, **options: Unpack[Options]
) -> Tensor:
    """Forward KL of knowledge distillation, T^2 KL(p || q) (arXiv:1503.02531).

    student_logits: (N, C), (N, C, *positions), or any shape with its classes at `class_dim`; any float dtype.
    teacher: the same shape; what it holds is said by `teacher_is`: "logits" (the default), "probabilities" or
        "log_probabilities". The temperature divides logits only: given probabilities are used as they are.
    temperature: a number, a 0-d tensor, or a tensor with one value per position.
    temperature_squared: multiply by T^2, which keeps the size of the gradients when T changes.
    reduction: as in torch.nn.KLDivLoss: "none" (elementwise, shape of the input), "sum", "mean" (over all elements,
        classes too: not the KL), "batchmean" (the sum over size(0)); or "positionmean" (sum over classes, mean over the
        positions kept: with weights, the weighted mean).
    log_target: whether the teacher's logits pass through log_softmax (True) or softmax; equal up to rounding.
    mask: bool, one value per position; False leaves the position out.
    weights: one non-negative factor per position.
    validate: also check that given probabilities are probabilities (costs a pass over them).
    """
    del log_target  # both ways are computed from log-probabilities, the safe form
    return _divergence(_kl, student_logits, teacher, options)


def reverse_kl_divergence(student_logits: Tensor, teacher: Tensor, **options: Unpack[Options]) -> Tensor:
    """T^2 KL(q || p)."""
    return _divergence(lambda lp, lq: _kl(lq, lp), student_logits, teacher, options)


def js_divergence(student_logits: Tensor, teacher: Tensor, *, beta: float = 0.5, **options: Unpack[Options]) -> Tensor:
    """Generalised Jensen-Shannon: T^2 [b KL(p || m) + (1-b) KL(q || m)], m = b p + (1-b) q (arXiv:2306.13649)."""

    def formula(lp: Tensor, lq: Tensor) -> Tensor:
        lm = _log_mixture(lp, lq, beta)
        return beta * _kl(lp, lm) + (1 - beta) * _kl(lq, lm)

    return _divergence(formula, student_logits, teacher, options)


def symmetric_kl_divergence(student_logits: Tensor, teacher: Tensor, **options: Unpack[Options]) -> Tensor:
    """T^2 [KL(p || q) + KL(q || p)] / 2."""
    return _divergence(lambda lp, lq: (_kl(lp, lq) + _kl(lq, lp)) / 2, student_logits, teacher, options)


def skew_kl_divergence(
    student_logits: Tensor, teacher: Tensor, *, alpha: float = 0.1, **options: Unpack[Options]
) -> Tensor:
    """T^2 KL(p || a p + (1-a) q) (arXiv:2402.03898)."""
    return _divergence(lambda lp, lq: _kl(lp, _log_mixture(lp, lq, alpha)), student_logits, teacher, options)


def skew_reverse_kl_divergence(
    student_logits: Tensor, teacher: Tensor, *, alpha: float = 0.1, **options: Unpack[Options]
) -> Tensor:
    """T^2 KL(q || (1-a) p + a q) (arXiv:2402.03898)."""
    return _divergence(lambda lp, lq: _kl(lq, _log_mixture(lq, lp, alpha)), student_logits, teacher, options)


def alpha_beta_divergence(
    student_logits: Tensor, teacher: Tensor, *, alpha: float, beta: float, **options: Unpack[Options]
) -> Tensor:
    """T^2 times -1/(ab) sum[p^a q^b - a/(a+b) p^(a+b) - b/(a+b) q^(a+b)] (arXiv:2505.04560)."""

    def formula(lp: Tensor, lq: Tensor) -> Tensor:
        a, b, s = alpha, beta, alpha + beta
        return ((a * lp + b * lq).exp() - a / s * (s * lp).exp() - b / s * (s * lq).exp()) / -(a * b)

    return _divergence(formula, student_logits, teacher, options)


def total_variation(student_logits: Tensor, teacher: Tensor, **options: Unpack[Options]) -> Tensor:
    """T^2 times half the sum of |p - q| (arXiv:2307.15190)."""
    return _divergence(lambda lp, lq: (lp.exp() - lq.exp()).abs() / 2, student_logits, teacher, options)


def soft_cross_entropy(student_logits: Tensor, teacher: Tensor, **options: Unpack[Options]) -> Tensor:
    """Cross-entropy to soft targets, T^2 times -sum p log q."""
    return _divergence(lambda lp, lq: -lp.exp() * lq, student_logits, teacher, options)


def _kl(lp: Tensor, lq: Tensor) -> Tensor:
    return lp.exp() * (lp - lq)


def _log_mixture(la: Tensor, lb: Tensor, weight: float) -> Tensor:
    log = torch.tensor([weight, 1 - weight], dtype=torch.float64).log().tolist()
    return torch.logaddexp(la + log[0], lb + log[1])


def _divergence(formula: Formula, student: Tensor, teacher: Tensor, options: Options) -> Tensor:
    class_dim = options.get("class_dim", 1)
    reduction = options.get("reduction", "batchmean")
    form = options.get("teacher_is", "logits")
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    student, teacher = (x.to(dtype).movedim(class_dim, -1) for x in (student, teacher))
    t = torch.as_tensor(options.get("temperature", 1.0), dtype=dtype, device=student.device).unsqueeze(-1)
    keep = options.get("mask")
    if keep is not None:
        student, teacher = (x.masked_fill(~keep.unsqueeze(-1), 0) for x in (student, teacher))
    floor = torch.finfo(dtype).min / 4  # a masked class keeps probability 0 and finite arithmetic
    lq = (student / t).log_softmax(-1).clamp_min(floor)
    if form == "logits":
        lp = (teacher / t).log_softmax(-1)
    else:
        lp = teacher.log() if form == "probabilities" else teacher
    value = formula(lp.clamp_min(floor), lq)
    if options.get("temperature_squared", True):
        value = value * t**2
    weights = options.get("weights")
    factor = torch.ones_like(value[..., 0]) if weights is None else weights.to(dtype)
    if keep is not None:
        factor = factor * keep
    value = value * factor.unsqueeze(-1)
    if reduction == "none":
        return value.movedim(-1, class_dim)
    denominators = {
        "sum": 1,
        "mean": value.numel(),
        "batchmean": value.shape[0],
        "positionmean": factor.sum(),
    }
    return value.sum() / denominators[reduction] if value.numel() else value.sum()
