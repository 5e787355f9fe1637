"""Divergences between what a teacher and a student say of a batch: pure functions of tensors.

All take the keywords that `kl_divergence` explains. p is the teacher's distribution and q the student's, both at the
temperature T. Arithmetic is float32, or float64 where an input is; the loss comes back in that dtype and gradients in
the dtype of the inputs. What each divergence computes is in formulas.py.
"""

from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from distill.losses.arguments import Arguments, Options, check_logits, check_open_interval, check_temperature
from distill.losses.autograd import Terms, fastest_sum
from distill.losses.compiled import compiled_sum
from distill.losses.engine import Job, as_rows, terms, working_dtype
from distill.losses.formulas import (
    AlphaBeta,
    CrossEntropy,
    Formula,
    ForwardKL,
    JensenShannon,
    ReverseKL,
    SkewKL,
    SkewReverseKL,
    SymmetricKL,
    TotalVariation,
)
from distill.losses.sparse import SparseTeacher, log_buckets

Logits = Float[Tensor, "*shape"]
Teacher = Logits | SparseTeacher
Loss = Float[Tensor, "*elements"]  # (), or elementwise with reduction="none"


def kl_divergence(
    student_logits: Logits, teacher: Teacher, *, log_target: bool = True, **options: Unpack[Options]
) -> Loss:
    """Forward KL of knowledge distillation, T^2 KL(p || q) (arXiv:1503.02531).

    student_logits: (N, C), (N, C, *positions), or any order with classes at `class_dim`; any float dtype.
    teacher: the same shape; `teacher_is` says what it holds. Or a SparseTeacher: then the divergence is between
        its k classes and one for the rest, at its temperature; "none" returns (*positions, k + 1).
    log_target: whether the teacher's logits pass through log_softmax (True) or softmax on their way, as the argument of
        torch.nn.KLDivLoss. Both are computed from log-probabilities, the form that is safe where probabilities
        underflow (0 log 0 = 0), so the choice changes nothing in the result.

    Keywords of every divergence:
    temperature: T > 0: a number, a 0-d tensor, or one value per position or per sample; a tensor may require grad.
    temperature_squared: multiply by T^2, which keeps the size of the gradients as T changes. Default True.
    reduction: as torch.nn.KLDivLoss has them: "none" (elementwise, the shape of the input), "sum", "mean" (over all
        elements, classes too, hence not the divergence), "batchmean" (sum over size(0), the default); or
        "positionmean": the mean over the positions that are kept, weighted by `weights`.
    teacher_is: "logits" (default), "probabilities" or "log_probabilities". Given probabilities are used as they are:
        the temperature divides the student's logits, and the teacher's only if they are logits too.
    class_dim: where the classes are. Default 1; -1 for (N, T, V).
    mask: bool, one per position or per sample. False leaves the position out, whatever its logits hold.
    labels, ignore_index: positions whose label is ignore_index (default -100) are left out too.
    weights: one factor >= 0 per position or per sample; may require grad.
    validate: also check that probabilities are such, and weights and temperatures in tensors on any device.

    Only "positionmean" counts the positions kept; the others sum them and divide by the sizes of the input. Without any
    (an empty batch, all masked) the loss is 0, with gradients of 0. A class at -inf has probability 0: it adds nothing
    where it has that on both sides, and infinity where only the student rules it out.

    Raises TypeError for dtypes and ValueError for shapes and values, naming the argument and what would work.
    """
    del log_target
    return _measure(ForwardKL(), student_logits, teacher, options)


def reverse_kl_divergence(student_logits: Logits, teacher: Teacher, **options: Unpack[Options]) -> Loss:
    """T^2 KL(q || p); arguments as in `kl_divergence`."""
    return _measure(ReverseKL(), student_logits, teacher, options)


def symmetric_kl_divergence(student_logits: Logits, teacher: Teacher, **options: Unpack[Options]) -> Loss:
    """T^2 [KL(p || q) + KL(q || p)] / 2; arguments as in `kl_divergence`."""
    return _measure(SymmetricKL(), student_logits, teacher, options)


def js_divergence(student_logits: Logits, teacher: Teacher, *, beta: float = 0.5, **options: Unpack[Options]) -> Loss:
    """Generalised Jensen-Shannon, T^2 [b KL(p || m) + (1-b) KL(q || m)] with m = b p + (1-b) q (arXiv:2306.13649).

    It tends to 0 as beta tends to 0 or 1: forward and reverse KL are losses of their own, not its ends. 0 < beta < 1.
    Other arguments as in `kl_divergence`.
    """
    check_open_interval("beta", beta, "for the ends use kl_divergence or reverse_kl_divergence")
    return _measure(JensenShannon(beta), student_logits, teacher, options)


def skew_kl_divergence(
    student_logits: Logits, teacher: Teacher, *, alpha: float = 0.1, **options: Unpack[Options]
) -> Loss:
    """T^2 KL(p || a p + (1-a) q) with 0 < a < 1 (arXiv:2402.03898); arguments as in `kl_divergence`."""
    check_open_interval("alpha", alpha, "without a mixture use kl_divergence")
    return _measure(SkewKL(alpha), student_logits, teacher, options)


def skew_reverse_kl_divergence(
    student_logits: Logits, teacher: Teacher, *, alpha: float = 0.1, **options: Unpack[Options]
) -> Loss:
    """T^2 KL(q || (1-a) p + a q) with 0 < a < 1 (arXiv:2402.03898); arguments as in `kl_divergence`."""
    check_open_interval("alpha", alpha, "without a mixture use reverse_kl_divergence")
    return _measure(SkewReverseKL(alpha), student_logits, teacher, options)


def alpha_beta_divergence(
    student_logits: Logits, teacher: Teacher, *, alpha: float, beta: float, **options: Unpack[Options]
) -> Loss:
    """T^2 times -1/(ab) sum[p^a q^b - a/(a+b) p^(a+b) - b/(a+b) q^(a+b)] (arXiv:2505.04560).

    alpha, beta: neither 0 nor each other's negative. Other arguments as in `kl_divergence`, the limit at (1, 0).
    """
    if alpha == 0 or beta == 0 or alpha + beta == 0:
        raise ValueError(
            f"alpha={alpha}, beta={beta}: neither they nor their sum may be 0; "
            "the limits (1, 0) and (0, 1) are kl_divergence and reverse_kl_divergence"
        )
    return _measure(AlphaBeta(alpha, beta), student_logits, teacher, options)


def total_variation(student_logits: Logits, teacher: Teacher, **options: Unpack[Options]) -> Loss:
    """T^2 times sum |p - q| / 2 (arXiv:2307.15190); arguments as in `kl_divergence`."""
    return _measure(TotalVariation(), student_logits, teacher, options)


def soft_cross_entropy(student_logits: Logits, teacher: Teacher, **options: Unpack[Options]) -> Loss:
    """Cross-entropy to soft targets, T^2 times -sum p log q; arguments as in `kl_divergence`."""
    return _measure(CrossEntropy(), student_logits, teacher, options)


def _measure(formula: Formula, student: Tensor, teacher: Teacher, options: Options) -> Tensor:
    if isinstance(teacher, SparseTeacher):
        return _measure_sparse(formula, student, teacher, options)
    a = Arguments(student, teacher, **options)
    if student.dim() > 3:
        a = _viewable(a)
    dtype = working_dtype(student, teacher)
    temperature, squared = _temperature(a, dtype)
    drop, weights = _row_weights(a, dtype)
    if a.reduction == "none":
        return _elementwise(a, Job(formula, temperature, 1.0, None, drop, a.teacher_is), weights, squared)
    scale, weights = _normalised(a, weights)
    if isinstance(squared, float):
        scale *= squared
    else:
        weights = squared if weights is None else squared * weights
    job = Job(formula, temperature, scale, weights, drop, a.teacher_is)
    if a.teacher_is == "logits" and not (_learned(temperature) or _learned(weights)):
        if torch.compiler.is_compiling():
            return compiled_sum(job, a.student, a.teacher, a.class_dim)
        return fastest_sum(job, a.student, a.teacher, a.class_dim)
    rows = _terms(a, job, by_row=True)
    return (rows if weights is None else rows * weights).sum() * scale


def _measure_sparse(formula: Formula, student: Tensor, teacher: SparseTeacher, options: Options) -> Tensor:
    """The same between buckets: log-probabilities already, so that no temperature is left to divide by."""
    check_logits("student_logits", student)
    t = check_temperature(options.get("temperature", 1.0), validate=True)
    if isinstance(t, Tensor) or t != teacher.temperature:
        raise ValueError(
            f"temperature={t} differs from the sparse teacher's {teacher.temperature:g}, and the mass of its tail at "
            "another temperature is not known: build it with SparseTeacher.from_logits(..., temperature=...)"
        )
    class_dim, mask, labels = options.get("class_dim", 1), options.get("mask"), options.get("labels")
    ignored = options.get("ignore_index", -100)
    keep = Arguments(student, student, class_dim=class_dim, mask=mask, labels=labels, ignore_index=ignored).kept()
    buckets = log_buckets(student, teacher, class_dim, None if keep is None else ~keep)
    inner: Options = {**options, "temperature": 1.0, "class_dim": -1, "teacher_is": "log_probabilities"}
    inner["validate"] = False
    scale = t * t if options.get("temperature_squared", True) else 1.0
    if options.get("reduction") == "mean":  # over the elements of the logits, as the dense one
        inner["reduction"] = "sum"
        scale /= max(1, student.numel())
    return _measure(formula, buckets, teacher.to(student.device).log_probabilities(buckets.dtype), inner) * scale


def _learned(x: float | Tensor | None) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _viewable(a: Arguments) -> Arguments:
    """The arguments in a layout that the engine can view as rows: as they are, if possible."""
    for name in ("student", "teacher"):
        x: Tensor = getattr(a, name)
        rows = x.movedim(a.class_dim, -1)
        if not (x.is_contiguous() and a.class_dim == 1):
            setattr(a, name, rows.contiguous().movedim(-1, a.class_dim))
    return a


def _temperature(a: Arguments, dtype: torch.dtype) -> tuple[float | Tensor, float | Tensor]:
    """The temperature in rows, and what it multiplies the loss by."""
    t = a.temperature
    if isinstance(t, Tensor):
        t = t.to(a.student.device, dtype) if t.dim() == 0 else a.per_position("temperature", t).to(dtype)
    return t, t * t if a.temperature_squared else 1.0


def _row_weights(a: Arguments, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
    """Which rows to drop, and the weights of all, in rows; None for none."""
    keep = a.kept() if a.mask is not None or a.labels is not None else None
    weights = None if a.weights is None else a.per_position("weights", a.weights).to(dtype)
    if keep is None:
        return None, weights
    drop = ~keep
    return drop, keep.to(dtype) if weights is None else weights.masked_fill(drop, 0)


def _normalised(a: Arguments, weights: Tensor | None) -> tuple[float, Tensor | None]:
    """Scale and weights that turn a sum over rows into the reduction."""
    if a.reduction == "sum":
        return 1.0, weights
    if a.reduction == "positionmean" and weights is not None:
        total = weights.sum()
        return 1.0, weights / torch.where(total > 0, total, 1)
    if a.reduction == "batchmean":
        return 1 / max(1, a.student.shape[0]), weights
    return 1 / max(1, (a.student.shape if a.reduction == "mean" else a.positions).numel()), weights


def _terms(a: Arguments, job: Job, *, by_row: bool) -> Tensor:
    if torch.compiler.is_compiling():
        s, t = (as_rows(x, a.class_dim) for x in (a.student, a.teacher))
        out = terms(job, s, t, working_dtype(s, t))
        return out.sum(-1, keepdim=True) if by_row else _as_input(out, a)
    given, dtype, device = job.temperature, working_dtype(a.student, a.teacher), a.student.device
    temperature = (
        given.to(device, dtype) if isinstance(given, Tensor) else torch.full((), given, dtype=dtype, device=device)
    )
    return Terms.apply(a.student, a.teacher, temperature, job, a.class_dim, by_row)  # type: ignore[no-any-return]


def _elementwise(a: Arguments, job: Job, weights: Tensor | None, squared: float | Tensor) -> Tensor:
    out = _terms(a, job, by_row=False)
    if weights is not None:
        squared = squared * weights
    if isinstance(squared, Tensor) and squared.dim():
        squared = squared.view(*a.positions, 1).movedim(-1, a.class_dim)
    return out * squared


def _as_input(rows: Tensor, a: Arguments) -> Tensor:
    return rows.view(*a.positions, rows.shape[-1]).movedim(-1, a.class_dim)
