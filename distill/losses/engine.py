"""One engine for all divergences: chunks of rows, float32 or better, nothing of the inputs' size kept but the gradient.

Rows are positions, classes are last: (rows, classes) or (outer, inner, classes). What a row has one of (temperature,
weight) has the same shape with one class. A chunk stays in the cache while it is worked on: that is where the speed is.
"""

import math
import threading
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from distill.losses.formulas import MASKED, Formula, widest_dtype

TeacherForm = Literal["logits", "probabilities", "log_probabilities"]

# Elements of a chunk: on a CPU what the caches hold of three such buffers, elsewhere what keeps the device busy.
CPU_CHUNK, GPU_CHUNK = 1 << 19, 1 << 24
# Below this mean over rows (in nats) a sum has too few digits left in float32, and is worked out again in float64.
TINY = 1e-3
# Above it a divergence is that of a class with probability 0 on one side alone: see MASKED.
INFINITE = 1e20


@dataclass(slots=True)
class Job:
    """What to compute: the sum over rows of scale * weight * D(row).

    temperature: divides logits, never given probabilities; a number, or a tensor, () or with one class.
    weights: with one class, or None. drop: bool with one class, rows to leave out whatever they hold, or None.
    """

    formula: Formula
    temperature: float | Tensor = 1.0
    scale: float | Tensor = 1.0
    weights: Tensor | None = None
    drop: Tensor | None = None
    teacher_is: TeacherForm = "logits"

    @property
    def factor(self) -> float | Tensor:
        """What multiplies the divergence of a row."""
        return self.scale if self.weights is None else self.weights * self.scale

    def at(self, index: tuple[slice, ...]) -> "Job":
        """The job of some rows."""
        t = self.temperature
        if self.weights is None and self.drop is None and isinstance(t, float):
            return self
        return replace(
            self,
            temperature=t[index] if isinstance(t, Tensor) and t.dim() else t,
            weights=None if self.weights is None else self.weights[index],
            drop=None if self.drop is None else self.drop[index],
        )


def as_rows(x: Tensor, class_dim: int) -> Tensor:
    """A view of (N, C, *positions), or any order of them, with classes last and at most two dimensions before them."""
    if x.dim() == 2 and class_dim == 1:
        return x
    x = x.movedim(class_dim, -1)
    return x.view(x.shape[0], -1, x.shape[-1]) if x.dim() > 3 else x


def row_chunks(shape: torch.Size, device: torch.device) -> list[tuple[slice, ...]]:
    """Indices that cut rows into chunks; the empty index where one chunk holds them all."""
    size, elements = CPU_CHUNK if device.type == "cpu" else GPU_CHUNK, shape.numel()
    if elements <= size:
        return [()] if elements else []
    rows = max(1, size // shape[-1])
    if len(shape) == 2:
        return [(slice(i, i + rows),) for i in range(0, shape[0], rows)]
    outer = max(1, rows // shape[1])
    return [
        (slice(i, i + outer), slice(j, j + rows)) for i in range(0, shape[0], outer) for j in range(0, shape[1], rows)
    ]


def is_small(x: Tensor) -> bool:
    """Whether logits are so few that a copy of them in float32 is small beside all else."""
    return x.numel() <= CPU_CHUNK


def forced_dtype(x: Tensor) -> torch.dtype | None:
    """In which dtype to work from the start; None: first in the inputs', and then it is asked how exact that was.

    To ask is to wait for all that a GPU has yet to do, and where logits are is_small, float64 takes it no time.
    """
    dtype = widest_dtype(x)
    return dtype if x.device.type != "cpu" and (is_small(x) or dtype == torch.float32) else None


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """float32, or float64 where any tensor is: what losses are computed and returned in."""
    return torch.float64 if torch.float64 in [x.dtype for x in tensors] else torch.float32


def terms(job: Job, student: Tensor, teacher: Tensor, dtype: torch.dtype) -> Tensor:
    """What each class adds to the divergence of its row, unweighted: the plain, differentiable statement of a job."""
    lq = log_probabilities(student.to(dtype), job)
    if job.teacher_is == "logits":
        lp = log_probabilities(teacher.to(dtype), job)
    else:
        if job.drop is not None:
            teacher = teacher.masked_fill(job.drop, 1)
        lp = teacher.to(dtype)
        lp = (lp.log() if job.teacher_is == "probabilities" else lp).clamp_min(MASKED)
    out = job.formula.terms(lp, lq)
    return out if job.drop is None else out.masked_fill(job.drop, 0)


def log_probabilities(logits: Tensor, job: Job) -> Tensor:
    """log_softmax of logits over the temperature. The maximum goes first: a division would magnify its rounding."""
    if job.drop is not None:
        logits = logits.masked_fill(job.drop, 0)
    logits = logits.clamp_min(MASKED)
    if logits.numel():
        logits = logits - logits.detach().amax(-1, keepdim=True)
    return (logits / job.temperature).log_softmax(-1)


def weighted_sum(job: Job, student: Tensor, teacher: Tensor) -> Tensor:
    """A job on rows as plain operations, differentiable any number of times."""
    rows = terms(job, student, teacher, working_dtype(student, teacher)).sum(-1, keepdim=True)
    return (rows * job.factor).sum()


def precise_terms(job: Job, student: Tensor, teacher: Tensor) -> Tensor:
    """The terms of a chunk, in float64 where float32 has too few digits for their sum."""
    dtype, given = working_dtype(student, teacher), forced_dtype(student)
    if given is None:
        out = terms(job, student, teacher, dtype)
        if _enough_digits(out.sum().item(), out):
            return out
    return terms(job, student, teacher, given or torch.float64).to(dtype)


def differentiate(
    job: Job, inputs: tuple[Tensor, ...], wanted: tuple[bool, ...], grad: float | Tensor, dtype: torch.dtype
) -> tuple[Tensor, list[Tensor | None]]:
    """The terms of a chunk, and autograd's gradients of its student, teacher and temperature for a gradient of them."""
    with torch.enable_grad():
        student, teacher, temperature = (x.detach().requires_grad_(w) for x, w in zip(inputs, wanted, strict=True))
        out = terms(replace(job, temperature=temperature), student, teacher, dtype)
        leaves = [x for x in (student, teacher, temperature) if x.requires_grad]
        if not leaves:
            return out, [None] * 3
        grad = torch.as_tensor(grad, dtype=dtype, device=out.device).expand_as(out)
        found = iter(torch.autograd.grad(out, leaves, grad))
    return out.detach(), [next(found) if w else None for w in wanted]


def evaluate(
    job: Job, student: Tensor, teacher: Tensor, student_grad: Tensor | None = None, teacher_grad: Tensor | None = None
) -> Tensor:
    """The sum of a job on logits, shape (). Fills the gradients that are given: views of the rows of the inputs."""
    dtype = working_dtype(student, teacher)
    total: float | Tensor = 0.0
    for index in row_chunks(student.shape, student.device):
        part, s, t, gs, gt = job, student, teacher, student_grad, teacher_grad
        if index:
            part, s, t = job.at(index), s[index], t[index]
            gs = gs if gs is None else gs[index]
            gt = gt if gt is None else gt[index]
        total += _measured(part, s, t, gs, gt, dtype)
    return torch.as_tensor(total * job.scale, dtype=dtype, device=student.device)


def _measured(
    job: Job, s: Tensor, t: Tensor, student_grad: Tensor | None, teacher_grad: Tensor | None, dtype: torch.dtype
) -> float | Tensor:
    """The weighted sum of a chunk's terms, with digits enough. Fills the gradients that are given."""
    given = forced_dtype(s)
    if given is not None:
        s, t = (x.to(given).clamp_min(MASKED) for x in (s, t))
        value = _fast(job, s, t, student_grad, teacher_grad, given)
        return _weighted(value.masked_fill(value > INFINITE, math.inf), job)
    value = _fast(job, s, t, student_grad, teacher_grad, dtype)
    added = value.sum().item()
    if not _enough_digits(added, value):
        value = _careful(job, s, t, student_grad, teacher_grad)
        added = value.sum().item()
    return added if job.weights is None else _weighted(value, job).item()


def _weighted(value: Tensor, job: Job) -> Tensor:
    return value.sum() if job.weights is None else (value.sum(-1, keepdim=True) * job.weights).sum()


class Scratch(threading.local):
    """Room for what is worked out of a chunk. Kept from call to call, a few MB for each thread that computes losses on
    the CPU: fresh memory would cost a page fault for every 4 KB, which takes as long as the arithmetic."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, torch.dtype], Tensor] = {}

    def get(self, name: str, like: Tensor, dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor of the shape of `like`, in the same memory for the same name."""
        kept = self._kept.get((name, dtype))
        if kept is not None and kept.shape == like.shape and like.device.type == "cpu":
            return kept
        if like.device.type != "cpu" or like.numel() > CPU_CHUNK:
            return torch.empty(like.shape, dtype=dtype, device=like.device)
        with torch.inference_mode(False):  # or it could not be written to outside of that mode
            room = None if kept is None else kept._base
            if room is None or room.numel() < like.numel():
                room = torch.empty(CPU_CHUNK, dtype=dtype)
            self._kept[name, dtype] = room[: like.numel()].view(like.shape)
        return self._kept[name, dtype]


SCRATCH = Scratch()


def _fast(
    job: Job, s: Tensor, t: Tensor, student_grad: Tensor | None, teacher_grad: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Terms and gradients of a chunk by the formula's own hand. The student's gradient grows where it is to stay."""
    in_place = student_grad is not None and student_grad.dtype == dtype and student_grad.is_contiguous()
    lq = student_grad if in_place and student_grad is not None else SCRATCH.get("lq", s, dtype)
    lp = SCRATCH.get("lp", s, dtype)
    torch.log_softmax(_over_temperature(s, job, lq), -1, out=lq)
    torch.log_softmax(_over_temperature(t, job, lp), -1, out=lp)
    if student_grad is None and teacher_grad is None:
        return job.formula.terms(lp, lq)
    factor, scratch = job.factor / job.temperature, SCRATCH.get("terms", s, dtype)
    if teacher_grad is not None:
        made = lp.clone()
        value = job.formula.mirror.gradient(lq.clone(), made, factor, scratch)
        teacher_grad.copy_(made)
    if student_grad is not None:
        value = job.formula.gradient(lp, lq, factor, scratch)
        if not in_place:
            student_grad.copy_(lq)
    return value


def _over_temperature(logits: Tensor, job: Job, out: Tensor) -> Tensor:
    """Logits over the temperature in the dtype of `out`; rows that are dropped become zeros."""
    t = job.temperature
    if job.drop is None and isinstance(t, float) and t >= 1 and logits.dtype == out.dtype:
        return logits if t == 1 else torch.mul(logits, 1 / t, out=out)
    out.copy_(logits)
    if job.drop is not None:
        out.masked_fill_(job.drop, 0)
    if not isinstance(t, float) or t < 1:  # the division would magnify the rounding of a large common offset
        out.sub_(out.amax(-1, keepdim=True))
    return out if isinstance(t, float) and t == 1 else out.div_(t)


def _careful(job: Job, s: Tensor, t: Tensor, student_grad: Tensor | None, teacher_grad: Tensor | None) -> Tensor:
    """The same in float64 by autograd, with -inf neutralised: for chunks where the fast way is not exact enough."""
    temperature = torch.as_tensor(job.temperature, dtype=torch.float64, device=s.device)
    wanted = (student_grad is not None, teacher_grad is not None, False)
    value, found = differentiate(job, (s, t, temperature), wanted, job.factor, torch.float64)
    for grad, out in zip(found, (student_grad, teacher_grad), strict=False):
        if grad is not None and out is not None:
            out.copy_(grad)
    return value


def _enough_digits(total: float, value: Tensor) -> bool:
    """Whether terms of rows add up to a sum with digits to spare. False for NaN, which -inf logits leave behind."""
    return total > (TINY * value.numel() / value.shape[-1] if value.dtype == torch.float32 else -1e300)
