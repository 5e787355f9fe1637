# mypy: disable-error-code="no-untyped-def, untyped-decorator"
"""Forward KL, reverse KL and Jensen-Shannon on a GPU: one program a row, streaming over its classes.

The forward pass reads both logits once and keeps three numbers a row (Jensen-Shannon reads them twice and keeps four);
the backward pass reads them once more and writes the gradient with everything that multiplies it: 10 bytes a logit in
bfloat16. Reading this module needs Triton; `autograd.py` goes the chunked way where it is missing.

Set TRITON_INTERPRET=1 before the import to run the kernels on a CPU, for tests. Not measured on a GPU yet.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from distill.losses.engine import INFINITE, Job, as_rows, weighted_sum
from distill.losses.formulas import ForwardKL, JensenShannon, ReverseKL

FORWARD, REVERSE, JS = 0, 1, 2
KINDS = {ForwardKL: FORWARD, ReverseKL: REVERSE, JensenShannon: JS}
# Beyond it the value of a row in float32 has lost too many digits; the chunked way has float64 for that.
MAX_TEMPERATURE = 30.0
MASKED = tl.constexpr(-1e30)


def serves(job: Job, student: Tensor, teacher: Tensor, class_dim: int) -> bool:
    """Whether the kernels do this job: a frozen teacher's logits, one temperature, rows that lie side by side."""
    return (
        type(job.formula) in KINDS
        and isinstance(job.temperature, float)
        and job.temperature <= MAX_TEMPERATURE
        and not teacher.requires_grad
        and student.numel() > 0
        and all(_flat(x, class_dim) is not None and x.dtype != torch.float64 for x in (student, teacher))
    )


class KernelSum(torch.autograd.Function):
    """A job on logits as one number, like WeightedSum, by the kernels."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, job: Job, class_dim: int) -> Tensor:
        """student, teacher: logits that `serves`. Returns shape ()."""
        ctx.job, ctx.class_dim = job, class_dim
        s, t = _rows(student, class_dim), _rows(teacher, class_dim)
        rows = torch.empty(4, len(s), dtype=torch.float32, device=s.device)
        drop = torch.empty(0, device=s.device) if job.drop is None else job.drop.reshape(-1).to(torch.int8)
        _statistics[(len(s),)](s, t, drop, rows, *_sizes(s, t), job.drop is not None, **_constants(job, s))
        value = torch.where(rows[3] > INFINITE, math.inf, rows[3])
        ctx.save_for_backward(student, teacher, rows, drop)
        factor = job.factor.reshape(-1) if isinstance(job.factor, Tensor) and job.factor.dim() else job.factor
        return (value * factor).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """grad: shape ()."""
        student, teacher, rows, drop = ctx.saved_tensors
        job: Job = ctx.job
        if torch.is_grad_enabled():
            out = weighted_sum(job, as_rows(student, ctx.class_dim), as_rows(teacher, ctx.class_dim))
            return torch.autograd.grad(out, student, grad, create_graph=True)[0], None, None, None
        s, t = _rows(student, ctx.class_dim), _rows(teacher, ctx.class_dim)
        made = torch.empty_like(s)
        factor = job.factor.reshape(-1) if isinstance(job.factor, Tensor) else rows.new_full((), job.factor)
        factor = (factor * grad / job.temperature).to(rows.dtype).expand(len(s)).contiguous()
        _gradient[(len(s),)](s, t, drop, rows, factor, made, *_sizes(s, t), job.drop is not None, **_constants(job, s))
        return _unrows(made, student, ctx.class_dim), None, None, None


@triton.jit
def _load(pointer, columns, V, kept, inverse_temperature):
    """Logits over the temperature in float32; a row left out is all zeros, what lies past the end has no weight."""
    x = tl.load(pointer + columns, mask=(columns < V) & kept, other=0.0).to(tl.float32)
    x = tl.maximum(x * inverse_temperature, MASKED)
    return tl.where(columns < V, x, MASKED)


@triton.jit
def _log_mixture(lp, lq, log_beta, log_rest):
    a, b = lp + log_beta, lq + log_rest
    top = tl.maximum(a, b)
    return top + tl.log(tl.exp(a - top) + tl.exp(b - top))


@triton.jit
def _statistics(
    s_ptr, t_ptr, drop_ptr, rows_ptr, N, V, s_stride, t_stride, dropped: tl.constexpr,
    inverse_temperature, beta, log_beta, log_rest, KIND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Per row: log-sum-exp of student and teacher, the sum that the gradient needs, the divergence."""
    row = tl.program_id(0).to(tl.int64)
    kept = tl.load(drop_ptr + row) == 0 if dropped else True
    s_row, t_row = s_ptr + row * s_stride, t_ptr + row * t_stride
    s_top, t_top, s_sum, t_sum, mean = -2e30, -2e30, 0.0, 0.0, 0.0
    for start in range(0, V, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        zs = _load(s_row, columns, V, kept, inverse_temperature)
        zt = _load(t_row, columns, V, kept, inverse_temperature)
        s_new, t_new = tl.maximum(s_top, tl.max(zs, 0)), tl.maximum(t_top, tl.max(zt, 0))
        es = tl.where(columns < V, tl.exp(zs - s_new), 0.0)
        et = tl.where(columns < V, tl.exp(zt - t_new), 0.0)
        s_shrink, t_shrink = tl.exp(s_top - s_new), tl.exp(t_top - t_new)
        if KIND == 0:
            mean = mean * t_shrink + tl.sum(et * (zt - zs), 0)
        if KIND == 1:
            mean = mean * s_shrink + tl.sum(es * (zs - zt), 0)
        s_sum, t_sum = s_sum * s_shrink + tl.sum(es, 0), t_sum * t_shrink + tl.sum(et, 0)
        s_top, t_top = s_new, t_new
    # The difference of two log-sum-exps, kept in parts: their sums would round away what is small in it
    apart = (t_top - s_top) + tl.log(t_sum / s_sum)
    s_log, t_log = s_top + tl.log(s_sum), t_top + tl.log(t_sum)
    inner, value = 0.0, 0.0
    if KIND == 0:
        value = mean / t_sum - apart
    if KIND == 1:
        value = mean / s_sum + apart
        inner = value
    if KIND == 2:
        for start in range(0, V, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            lq = _load(s_row, columns, V, kept, inverse_temperature) - s_log
            lp = _load(t_row, columns, V, kept, inverse_temperature) - t_log
            lm = _log_mixture(lp, lq, log_beta, log_rest)
            from_q = tl.sum(tl.where(columns < V, (1 - beta) * tl.exp(lq) * (lq - lm), 0.0), 0)
            value += from_q + tl.sum(tl.where(columns < V, beta * tl.exp(lp) * (lp - lm), 0.0), 0)
            inner += from_q
    tl.store(rows_ptr + row, s_log)
    tl.store(rows_ptr + N + row, t_log)
    tl.store(rows_ptr + 2 * N + row, inner)
    tl.store(rows_ptr + 3 * N + row, value)


@triton.jit
def _gradient(
    s_ptr, t_ptr, drop_ptr, rows_ptr, factor_ptr, out_ptr, N, V, s_stride, t_stride, dropped: tl.constexpr,
    inverse_temperature, beta, log_beta, log_rest, KIND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient at the student's logits: q - p, q (log(q/p) - D), or w - q sum(w) with w = (1-b) q log(q/m)."""
    row = tl.program_id(0).to(tl.int64)
    kept = tl.load(drop_ptr + row) == 0 if dropped else True
    s_log, t_log, inner = tl.load(rows_ptr + row), tl.load(rows_ptr + N + row), tl.load(rows_ptr + 2 * N + row)
    factor = tl.load(factor_ptr + row)
    for start in range(0, V, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        lq = _load(s_ptr + row * s_stride, columns, V, kept, inverse_temperature) - s_log
        lp = _load(t_ptr + row * t_stride, columns, V, kept, inverse_temperature) - t_log
        q = tl.exp(lq)
        if KIND == 0:
            g = q - tl.exp(lp)
        if KIND == 1:
            g = q * (lq - lp - inner)
        if KIND == 2:
            g = q * ((1 - beta) * (lq - _log_mixture(lp, lq, log_beta, log_rest)) - inner)
        tl.store(out_ptr + row * V + columns, (g * factor).to(out_ptr.dtype.element_ty), mask=columns < V)


def _constants(job: Job, s: Tensor) -> dict[str, Any]:
    beta = job.formula.beta if isinstance(job.formula, JensenShannon) else 0.5
    assert isinstance(job.temperature, float)
    return {
        "inverse_temperature": 1 / job.temperature,
        "beta": beta,
        "log_beta": math.log(beta),
        "log_rest": math.log1p(-beta),
        "KIND": KINDS[type(job.formula)],
        "BLOCK": min(4096, triton.next_power_of_2(s.shape[-1])),
        "num_warps": 8 if s.shape[-1] >= 4096 else 4,
    }


def _sizes(s: Tensor, t: Tensor) -> tuple[int, int, int, int]:
    return len(s), s.shape[-1], s.stride(0), t.stride(0)


def _flat(x: Tensor, class_dim: int) -> Tensor | None:
    """Logits as (rows, classes) with classes side by side, without a copy; None where there is no such view."""
    rows = as_rows(x, class_dim)
    if rows.stride(-1) != 1:
        return None
    if rows.dim() == 2:
        return rows
    return rows.view(-1, rows.shape[-1]) if rows.is_contiguous() else None


def _rows(x: Tensor, class_dim: int) -> Tensor:
    rows = _flat(x, class_dim)
    assert rows is not None
    return rows


def _unrows(made: Tensor, like: Tensor, class_dim: int) -> Tensor:
    return made.view(like.movedim(class_dim, -1).shape).movedim(-1, class_dim)
