"""The engine as a custom operator for torch.compile, so that it causes no graph break."""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor

from distill.losses import formulas
from distill.losses.engine import Job, as_rows, evaluate, working_dtype


def compiled_sum(job: Job, student: Tensor, teacher: Tensor, class_dim: int) -> Tensor:
    """What WeightedSum computes, in a form the compiler can trace. Differentiable once."""
    number, rows = (1.0, job.temperature) if isinstance(job.temperature, Tensor) else (job.temperature, None)
    parameters = [float(x) for x in cast(Iterable[float], job.formula)]
    arguments = (type(job.formula).__name__, parameters, number, rows, job.scale, job.weights, job.drop, class_dim)
    # Gradients of half precision wait for backward, so that the loss scale is in them before they are rounded
    now = [x.requires_grad and x.dtype.itemsize >= 4 for x in (student, teacher)]
    return cast(Tensor, _operator(student, teacher, *arguments, None, *now)[0])


@torch.library.custom_op("distill::divergence", mutates_args=())
def _operator(
    student: Tensor,
    teacher: Tensor,
    formula: str,
    parameters: list[float],
    temperature: float,
    temperatures: Tensor | None,
    scale: float,
    weights: Tensor | None,
    drop: Tensor | None,
    class_dim: int,
    grad: Tensor | None,
    student_grad: bool,
    teacher_grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss and the gradients asked for, times `grad`; empty tensors for the rest."""
    job = Job(
        getattr(formulas, formula)(*parameters),
        temperature if temperatures is None else temperatures,
        scale if grad is None else scale * grad,
        weights,
        drop,
    )
    made = _gradients(student, teacher, student_grad, teacher_grad)
    views = [as_rows(g, class_dim) if g.numel() else None for g in made]
    loss = evaluate(job, as_rows(student, class_dim), as_rows(teacher, class_dim), *views)
    return loss, *made


@_operator.register_fake
def _(student: Tensor, teacher: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    loss = student.new_empty((), dtype=working_dtype(student, teacher))
    return loss, *_gradients(student, teacher, *rest[-2:])


def _gradients(student: Tensor, teacher: Tensor, student_grad: bool, teacher_grad: bool) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(student) if student_grad else student.new_empty(0),
        torch.empty_like(teacher) if teacher_grad else teacher.new_empty(0),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    ctx.rest = [None if isinstance(x, Tensor) else (x,) for x in inputs]
    ctx.save_for_backward(*tensors, *output[1:])


def _backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    *tensors, student_made, teacher_made = ctx.saved_tensors
    given = iter(tensors)
    inputs = [next(given) if x is None else x[0] for x in ctx.rest]
    made_now = inputs[-2:]
    late = [need and not made for need, made in zip(ctx.needs_input_grad[:2], made_now, strict=True)]
    made = [student_made, teacher_made]
    if any(late):
        _, *later = _operator(*inputs[:-3], grad, *late)
    else:
        later = made
    grads = [b if is_late else a * grad for a, b, is_late in zip(made, later, late, strict=True)]
    needed = [g if need else None for g, need in zip(grads, ctx.needs_input_grad[:2], strict=True)]
    return (*needed, *[None] * (len(inputs) - 2))


_operator.register_autograd(_backward, setup_context=_setup)
