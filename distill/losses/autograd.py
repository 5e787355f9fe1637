"""How the engine meets autograd: gradients in the dtype of the inputs, second derivatives, retained graphs."""

from dataclasses import replace
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from distill.losses.engine import (
    Job,
    as_rows,
    differentiate,
    evaluate,
    is_small,
    precise_terms,
    row_chunks,
    terms,
    weighted_sum,
    working_dtype,
)


@cache
def kernels() -> ModuleType | None:
    """The Triton kernels, or None where Triton cannot be imported."""
    try:
        return import_module("distill.losses.triton_kernels")
    except ImportError:
        return None


def fastest_sum(job: Job, student: Tensor, teacher: Tensor, class_dim: int) -> Tensor:
    """A job on logits as one number: by the Triton kernels on a GPU where they serve, else in chunks. Shape ()."""
    if student.is_cuda:
        triton = kernels()
        if triton is not None and triton.serves(job, student, teacher, class_dim):
            return triton.KernelSum.apply(student, teacher, job, class_dim)  # type: ignore[no-any-return]
    return WeightedSum.apply(student, teacher, job, class_dim)  # type: ignore[no-any-return]


class WeightedSum(torch.autograd.Function):
    """A job on logits as one number.

    Gradients of float32 and float64 inputs are made in forward, where the chunks are in the cache anyway. Those of half
    precision are rounded once, with the loss scale already in them, so that small ones do not underflow: they wait for
    backward, or are kept in float32 until then where they are few.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, job: Job, class_dim: int) -> Tensor:
        """student, teacher: logits of any layout that `as_rows` can view. Returns shape ()."""
        ctx.job, ctx.class_dim = job, class_dim
        ctx.late = (student.dtype.itemsize < 4 or teacher.dtype.itemsize < 4) and not is_small(student)
        wanted = (False, False) if ctx.late else ctx.needs_input_grad
        student_grad, teacher_grad = _empty_for(student, wanted[0]), _empty_for(teacher, wanted[1])
        ctx.save_for_backward(student, teacher, student_grad, teacher_grad)
        return evaluate(job, *_rows(class_dim, student, teacher, student_grad, teacher_grad))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """grad: shape ()."""
        student, teacher, student_grad, teacher_grad = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        if torch.is_grad_enabled():
            out = weighted_sum(ctx.job, *_rows(ctx.class_dim, student, teacher))
            return (*_second_order(out, (student, teacher), wanted[:2], grad), None, None)
        if ctx.late:
            student_grad, teacher_grad = _empty_for(student, wanted[0]), _empty_for(teacher, wanted[1])
            job = replace(ctx.job, scale=ctx.job.scale * grad)
            evaluate(job, *_rows(ctx.class_dim, student, teacher, student_grad, teacher_grad))
            return student_grad, teacher_grad, None, None
        return _scaled(student_grad, grad, student.dtype), _scaled(teacher_grad, grad, teacher.dtype), None, None


class Terms(torch.autograd.Function):
    """The terms of a job, or their sums over classes, with gradients recomputed chunk by chunk in backward."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, temperature: Tensor, job: Job, class_dim: int, by_row: bool
    ) -> Tensor:
        """Returns the shape of the student, or (rows, 1) as `as_rows` has them. Scale and weights are not applied."""
        ctx.job, ctx.class_dim, ctx.by_row = job, class_dim, by_row
        ctx.save_for_backward(student, teacher, temperature)
        s, t = (as_rows(x, class_dim) for x in (student, teacher))
        dtype = working_dtype(student, teacher)
        out = s.new_empty((*s.shape[:-1], 1), dtype=dtype) if by_row else torch.empty_like(student, dtype=dtype)
        rows = out if by_row else as_rows(out, class_dim)
        job = replace(job, temperature=temperature)
        for index in row_chunks(s.shape, s.device):
            value = precise_terms(job.at(index), s[index], t[index])
            rows[index] = value.sum(-1, keepdim=True) if by_row else value
        return out if s.shape[-1] else out.zero_()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """grad: the shape of the output."""
        inputs = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        dtype = working_dtype(*inputs[:2])
        s, t = (as_rows(x, ctx.class_dim) for x in inputs[:2])
        job = replace(ctx.job, temperature=inputs[2])
        rows = grad if ctx.by_row else grad.movedim(ctx.class_dim, -1).reshape(s.shape)
        if torch.is_grad_enabled():
            return (*_second_order(terms(job, s, t, dtype), inputs, wanted, rows), None, None, None)
        grads = [torch.zeros_like(x) if w else None for x, w in zip(inputs, wanted, strict=True)]
        views = [*_rows(ctx.class_dim, *grads[:2]), grads[2]]
        for index in row_chunks(s.shape, s.device):
            part = job.at(index)
            found = differentiate(part, (s[index], t[index], part.temperature), wanted, rows[index], dtype)[1]
            for view, piece in zip(views, found, strict=True):
                if view is not None and piece is not None:
                    (view[index] if view.dim() else view).add_(piece)
        return (*grads, None, None, None)


def _rows(class_dim: int, *tensors: Tensor | None) -> list[Any]:
    return [x if x is None or (class_dim == 1 and x.dim() == 2) else as_rows(x, class_dim) for x in tensors]


def _empty_for(x: Tensor, wanted: bool) -> Tensor | None:
    """Room for a gradient, in float32 for half precision that is not to wait."""
    return torch.empty_like(x, dtype=working_dtype(x) if is_small(x) else x.dtype) if wanted else None


def _second_order(
    out: Tensor, inputs: tuple[Tensor, ...], wanted: tuple[bool, ...], grad: Tensor
) -> list[Tensor | None]:
    asked = [x for x, w in zip(inputs, wanted, strict=True) if w]
    found = iter(torch.autograd.grad(out, asked, grad.to(out.dtype).expand_as(out), create_graph=True))
    return [next(found) if w else None for w in wanted]


def _scaled(made: Tensor | None, grad: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The gradient made in forward, times the one that arrived; in place where the graph is not needed again."""
    if made is None:
        return None
    if made.dtype != dtype:
        return (made * grad).to(dtype)
    if torch._C._autograd._get_current_graph_task_keep_graph():
        return made * grad
    if grad.device.type == "cpu" and grad.item() == 1:
        return made
    return made.mul_(grad)
