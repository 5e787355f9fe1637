"""Divergences from hidden states to a teacher, chunk by chunk: the (N, V) logits are never held at once.

Logits exist for a few rows at a time; the gradients of hidden states, weight and bias are made while they do. Products
are taken in float32 whatever comes in: rounding the logits of bfloat16 factors to bfloat16 first, as a layer under
autocast does, costs several per cent of the gradient, and no later upcast brings it back.
"""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.arguments import Options, check_logits
from distill.losses.divergence import kl_divergence
from distill.losses.engine import working_dtype
from distill.losses.projection import Projection, Rows, check_projection
from distill.losses.sparse import SparseTeacher

# Rows of logits at a time: fewer make matrix products slow (64 took 1.2 x the time of 256), more only take memory.
ROWS = 256


def linear_divergence(
    hidden: Tensor,
    weight: Tensor,
    teacher: Tensor | SparseTeacher | Projection,
    bias: Tensor | None = None,
    *,
    divergence: Callable[..., Tensor] = kl_divergence,
    hard_labels: Tensor | None = None,
    hard_weight: float = 1.0,
    **options: Unpack[Options],
) -> Tensor:
    """divergence(hidden @ weight.T + bias, teacher), plus hard_weight times the cross-entropy to hard_labels.

    hidden: (N, H) or (N, T, H). weight: (V, H). bias: (V,). Any float dtypes; each gets its gradient in its own.
    Other arguments as in `linear_terms`, whose two terms this adds up.

    Returns shape (), float32 or float64. Differentiable once.
    Errors: ValueError and TypeError that name the argument.
    """
    student = Projection(hidden, weight, bias)
    soft, hard = linear_terms(
        student, teacher, divergence=divergence, hard_labels=hard_labels, weights_of=(1.0, hard_weight), **options
    )
    return soft + hard_weight * hard


def linear_terms(
    student: Projection,
    teacher: Tensor | SparseTeacher | Projection | None,
    *,
    divergence: Callable[..., Tensor] = kl_divergence,
    hard_labels: Tensor | None = None,
    smoothing: float = 0.0,
    weights_of: tuple[float, float] = (1.0, 1.0),
    count: float | Tensor | None = None,
    chunk: int | None = None,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor]:
    """The divergence between a student and a teacher, and the cross-entropy with labels, in one pass over the logits.

    student: gets gradients for hidden states, weight and bias, each in its own dtype.
    teacher: logits (N, V) or (N, T, V), a SparseTeacher, or a Projection; it gets no gradient. None: labels alone.
    divergence: any function of distill.losses.divergence, or a functools.partial of one that sets its own keywords.
    hard_labels: (N,) or (N, T) class indices; those at ignore_index (default -100) are left out of both terms, as are
        positions that the mask leaves out. The cross-entropy is at temperature 1. None: that term is 0.
    smoothing: share of each label that is spread over all classes.
    weights_of: the factors of both terms in the loss: the gradient is made for their sum, and made again, in another
        pass, where the loss turns out to weigh them otherwise (on a CPU; elsewhere only where one is left out).
    count: with reduction="positionmean", what the sum over positions is divided by in place of how many there are
        here: where a step of the optimizer is made of several batches, their mean number of positions.
    chunk: rows of logits that exist at a time.
    options: as in `kl_divergence`, without reduction="none" and class_dim (classes are last); temperature a number.

    Returns both terms without their weights, shape () each, float32 or float64. Differentiable once.
    Errors: ValueError and TypeError that name the argument.
    """
    _check(student, teacher, options)
    factor, drop = _row_factors(student, hard_labels, options, count)
    inner: Options = {"temperature": options.get("temperature", 1.0), "reduction": "sum", "class_dim": -1}
    for key in ("teacher_is", "temperature_squared", "validate"):
        if key in options:
            inner[key] = options[key]
    if isinstance(teacher, Projection):  # in the dtype of the arithmetic once, not for every chunk
        teacher = teacher.detach().to(working_dtype(teacher.hidden, teacher.weight))
    hidden = student.hidden.flatten(0, -2)
    labels = None if hard_labels is None else hard_labels.flatten()
    places: Tensor | None = None  # of the rows that count, where those that do not are left out at once
    if hidden.device.type == "cpu" and bool(drop.any()):
        places = (~drop).nonzero().flatten()
        hidden, factor, drop = hidden[places], factor[places], drop[places]
        labels = None if labels is None else labels[places]
    elif hidden.device.type != "cpu":
        hidden = hidden.masked_fill(drop.unsqueeze(-1), 0)  # whatever a padded position holds

    def terms(products: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        logits = student.finished(products)
        soft = hard = products.new_zeros(())
        if teacher is not None:
            part = _teacher_rows(teacher, rows if places is None else places[rows], logits.dtype)
            soft = divergence(logits, part, mask=~drop[rows], weights=factor[rows], **inner)
        if labels is not None:
            wanted = labels[rows].masked_fill(drop[rows], -100)
            each = F.cross_entropy(logits, wanted, reduction="none", label_smoothing=smoothing)
            hard = (each * factor[rows]).sum()
        return soft, hard

    soft, hard = _Chunked.apply(hidden, student.weight, student.bias, terms, weights_of, chunk or ROWS)
    return soft, hard


Terms = Callable[[Tensor, slice], tuple[Tensor, Tensor]]
Made = list[Tensor | None]


class _Chunked(torch.autograd.Function):
    """Two sums over chunks of rows of hidden @ weight.T + bias, with the gradients of their sum made on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        terms: Terms,
        weights_of: tuple[float, float],
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.terms, ctx.weights_of, ctx.chunk = terms, weights_of, chunk
        made, (soft, hard) = _in_chunks((hidden, weight, bias), ctx.needs_input_grad, terms, weights_of, chunk)
        ctx.save_for_backward(hidden, weight, bias, *made)
        return soft, hard

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("linear_divergence is differentiable once; create_graph=True needs the dense way")
        inputs, made = ctx.saved_tensors[:3], ctx.saved_tensors[3:]
        factor = _common_factor(grads, ctx.weights_of)
        if factor is None:
            asked = tuple(0.0 if grad is None else float(grad) for grad in grads)
            made, _ = _in_chunks(inputs, ctx.needs_input_grad, ctx.terms, asked, ctx.chunk)
            factor = torch.ones(())
        found = (
            None if grad is None else (grad * factor.to(grad.device)).to(x.dtype)
            for grad, x in zip(made, inputs, strict=True)
        )
        return (*found, None, None, None)


def _common_factor(grads: tuple[Tensor | None, ...], weights: tuple[float, float]) -> Tensor | None:
    """What the gradient of weights[0] * first + weights[1] * second is to be multiplied by; None: it is of no use."""
    first, second = grads
    if first is None or second is None:
        alone, weight, other = (second, weights[1], weights[0]) if first is None else (first, weights[0], weights[1])
        return None if alone is None or other or not weight else alone / weight
    if first.device.type == "cpu" and not torch.allclose(first * weights[1], second * weights[0], rtol=1e-5, atol=0):
        return None
    if not any(weights):
        return None
    return first / weights[0] if weights[0] else second / weights[1]


def _in_chunks(
    inputs: tuple[Tensor, Tensor, Tensor | None],
    wanted: Sequence[bool],
    terms: Terms,
    weights: tuple[float, ...],
    chunk: int,
) -> tuple[Made, Tensor]:
    """Gradients of the weighted sum of both terms, for those inputs that want one, and the terms, (2,).

    Gradients stay in the working dtype until the incoming gradient, and with it a loss scale, is in them.
    """
    hidden, weight, bias = inputs
    dtype = working_dtype(hidden, weight)
    with torch.autocast(hidden.device.type, enabled=False):
        w, b = weight.to(dtype), None if bias is None else bias.to(dtype)
        made = [
            torch.zeros_like(x, dtype=dtype) if x is not None and wants else None
            for x, wants in zip(inputs, wanted, strict=False)
        ]
        total = hidden.new_zeros(2, dtype=dtype)
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            total += _one_chunk(hidden[rows].to(dtype), w, b, made, rows, terms, weights)
    return made, total


def _one_chunk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    made: Made,
    rows: slice,
    terms: Terms,
    weights: tuple[float, ...],
) -> Tensor:
    products = F.linear(hidden, weight, bias)
    if made == [None, None, None]:
        return torch.stack(terms(products, rows))
    with torch.enable_grad():
        soft, hard = terms(products.requires_grad_(), rows)
        (g,) = torch.autograd.grad(weights[0] * soft + weights[1] * hard, products)
    hidden_grad, weight_grad, bias_grad = made
    if hidden_grad is not None:
        torch.mm(g, weight, out=hidden_grad[rows])
    if weight_grad is not None:
        weight_grad.addmm_(g.T, hidden)
    if bias_grad is not None:
        bias_grad += g.sum(0)
    return torch.stack((soft, hard)).detach()


def _teacher_rows(teacher: Tensor | SparseTeacher | Projection, rows: Rows, dtype: torch.dtype) -> Any:
    if isinstance(teacher, Projection):
        return teacher.logits(rows, dtype)
    if isinstance(teacher, SparseTeacher):
        return SparseTeacher(
            teacher.values.flatten(0, -2)[rows],
            teacher.indices.flatten(0, -2)[rows],
            teacher.log_tail.flatten()[rows],
            teacher.temperature,
        )
    return teacher.detach().flatten(0, -2)[rows]


def _row_factors(
    student: Projection, hard_labels: Tensor | None, options: Options, count: float | Tensor | None
) -> tuple[Tensor, Tensor]:
    """What multiplies each row, the reduction included, and which rows to drop: both (rows,)."""
    hidden, lead = student.hidden, student.positions
    labels = hard_labels if hard_labels is not None else options.get("labels")
    mask, weights = options.get("mask"), options.get("weights")
    for name, x in (("mask", mask), ("weights", weights), ("labels", labels)):
        if x is not None and x.shape != lead:
            raise ValueError(f"{name} has shape {tuple(x.shape)}; expected one value per position, {tuple(lead)}")
    drop = torch.zeros(lead, dtype=torch.bool, device=hidden.device)
    if mask is not None:
        drop = drop | ~mask
    if labels is not None:
        drop = drop | (labels == options.get("ignore_index", -100))
    factor = torch.ones(lead, dtype=working_dtype(hidden, student.weight), device=hidden.device)
    factor = (factor if weights is None else factor * weights.detach()).masked_fill(drop, 0)
    reduction = options.get("reduction", "batchmean")
    if count is not None and reduction != "positionmean":
        raise ValueError(f"count={count}: goes with reduction='positionmean', not {reduction!r}")
    if reduction == "positionmean":
        total = factor.sum() if count is None else torch.as_tensor(count, dtype=factor.dtype, device=factor.device)
        return (factor / torch.where(total > 0, total, 1)).flatten(), drop.flatten()
    sizes = {"sum": 1, "batchmean": lead[0], "mean": lead.numel() * student.classes}
    if reduction not in sizes:
        raise ValueError(f"reduction={reduction!r}; expected one of {', '.join(map(repr, (*sizes, 'positionmean')))}")
    return (factor / max(1, sizes[reduction])).flatten(), drop.flatten()


def _check(student: Projection, teacher: Tensor | SparseTeacher | Projection | None, options: Options) -> None:
    check_projection("", student)
    if "class_dim" in options:
        raise ValueError(f"class_dim={options['class_dim']}: the classes of hidden @ weight.T are last; leave it out")
    if isinstance(options.get("temperature"), Tensor):
        raise TypeError("temperature is a tensor; expected a number")
    if teacher is None:
        return
    positions: tuple[int, ...]
    if isinstance(teacher, SparseTeacher):
        positions, classes = tuple(teacher.log_tail.shape), student.classes
    elif isinstance(teacher, Projection):
        check_projection("the teacher's ", teacher)
        positions, classes = tuple(teacher.positions), teacher.classes
    else:
        check_logits("teacher", teacher)
        positions, classes = tuple(teacher.shape[:-1]), teacher.shape[-1]
    if positions != tuple(student.positions) or classes != student.classes:
        raise ValueError(
            f"teacher has positions {positions} and {classes} classes; hidden has {tuple(student.positions)} and "
            f"weight {student.classes}"
        )
