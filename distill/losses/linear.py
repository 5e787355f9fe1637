"""Divergences from hidden states to a teacher, chunk by chunk: the (N, V) logits are never held at once.

Logits exist for a few rows at a time; the gradients of hidden states, weight and bias are made while they do. Products
are taken in float32 whatever comes in: rounding the logits of bfloat16 factors to bfloat16 first, as a layer under
autocast does, costs several per cent of the gradient, and no later upcast brings it back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.arguments import Options, check_logits
from distill.losses.divergence import kl_divergence
from distill.losses.engine import working_dtype
from distill.losses.sparse import SparseTeacher

# Rows of logits at a time: fewer make matrix products slow (64 took 1.2 x the time of 256), more only take memory.
ROWS = 256


@dataclass(frozen=True, slots=True)
class LinearTeacher:
    """A teacher as its hidden states (*positions, H) and output layer, weight (V, H) and bias (V,): never trained."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None


def linear_divergence(
    hidden: Tensor,
    weight: Tensor,
    teacher: Tensor | SparseTeacher | LinearTeacher,
    bias: Tensor | None = None,
    *,
    divergence: Callable[..., Tensor] = kl_divergence,
    hard_labels: Tensor | None = None,
    hard_weight: float = 1.0,
    **options: Unpack[Options],
) -> Tensor:
    """divergence(hidden @ weight.T + bias, teacher), plus hard_weight times the cross-entropy to hard_labels.

    hidden: (N, H) or (N, T, H). weight: (V, H). bias: (V,). Any float dtypes; each gets its gradient in its own.
    teacher: logits (N, V) or (N, T, V), a SparseTeacher, or a LinearTeacher. It gets no gradient.
    divergence: any function of distill.losses.divergence, or a functools.partial of one that sets its own keywords.
    hard_labels: (N,) or (N, T) class indices; those at ignore_index (default -100) are left out of both terms, as are
        positions that the mask leaves out. The cross-entropy is at temperature 1.
    options: as in `kl_divergence`, without reduction="none" and class_dim (classes are last); temperature a number.

    Returns shape (), float32 or float64. Differentiable once.
    Errors: ValueError and TypeError that name the argument.
    """
    _check(hidden, weight, bias, teacher, options)
    factor, drop = _row_factors(hidden, weight, hard_labels, options)
    inner: Options = {"temperature": options.get("temperature", 1.0), "reduction": "sum", "class_dim": -1}
    for key in ("teacher_is", "temperature_squared", "validate"):
        if key in options:
            inner[key] = options[key]

    def loss(logits: Tensor, rows: slice) -> Tensor:
        part = _teacher_rows(teacher, rows, logits.dtype)
        out = divergence(logits, part, mask=~drop[rows], weights=factor[rows], **inner)
        if hard_labels is None:
            return out
        each = F.cross_entropy(logits, hard_labels.flatten()[rows].masked_fill(drop[rows], -100), reduction="none")
        return out + hard_weight * (each * factor[rows]).sum()

    return _Chunked.apply(hidden.flatten(0, -2), weight, bias, loss)  # type: ignore[no-any-return]


class _Chunked(torch.autograd.Function):
    """The sum of a loss over chunks of rows of hidden @ weight.T + bias, with its gradients made on the way."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, loss: Callable[[Tensor, slice], Tensor]
    ) -> Tensor:
        dtype = working_dtype(hidden, weight)
        ctx.dtypes = [None if x is None else x.dtype for x in (hidden, weight, bias)]
        with torch.autocast(hidden.device.type, enabled=False):
            w, b = weight.to(dtype), None if bias is None else bias.to(dtype)
            # Kept in the working dtype until the incoming gradient, and with it a loss scale, is in them
            made = [
                torch.zeros_like(x, dtype=dtype) if x is not None and wanted else None
                for x, wanted in zip((hidden, weight, bias), ctx.needs_input_grad, strict=False)
            ]
            total = hidden.new_zeros((), dtype=dtype)
            for i in range(0, len(hidden), ROWS):
                rows = slice(i, i + ROWS)
                total += _one_chunk(hidden[rows].to(dtype), w, b, made, rows, loss)
        ctx.save_for_backward(*made)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("linear_divergence is differentiable once; create_graph=True needs the dense way")
        made = ctx.saved_tensors
        return (*(None if g is None else (g * grad).to(d) for g, d in zip(made, ctx.dtypes, strict=True)), None)


def _one_chunk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    made: list[Tensor | None],
    rows: slice,
    loss: Callable[[Tensor, slice], Tensor],
) -> Tensor:
    logits = F.linear(hidden, weight, bias)
    if made == [None, None, None]:
        return loss(logits, rows)
    with torch.enable_grad():
        value = loss(logits.requires_grad_(), rows)
        (g,) = torch.autograd.grad(value, logits)
    hidden_grad, weight_grad, bias_grad = made
    if hidden_grad is not None:
        torch.mm(g, weight, out=hidden_grad[rows])
    if weight_grad is not None:
        weight_grad.addmm_(g.T, hidden)
    if bias_grad is not None:
        bias_grad += g.sum(0)
    return value.detach()


def _teacher_rows(teacher: Tensor | SparseTeacher | LinearTeacher, rows: slice, dtype: torch.dtype) -> Any:
    if isinstance(teacher, LinearTeacher):
        bias = None if teacher.bias is None else teacher.bias.to(dtype)
        return F.linear(teacher.hidden.flatten(0, -2)[rows].to(dtype), teacher.weight.to(dtype), bias).detach()
    if isinstance(teacher, SparseTeacher):
        return SparseTeacher(
            teacher.values.flatten(0, -2)[rows],
            teacher.indices.flatten(0, -2)[rows],
            teacher.log_tail.flatten()[rows],
            teacher.temperature,
        )
    return teacher.detach().flatten(0, -2)[rows]


def _row_factors(hidden: Tensor, weight: Tensor, hard_labels: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:
    """What multiplies each row, the reduction included, and which rows to drop: both (rows,)."""
    lead = hidden.shape[:-1]
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
    factor = torch.ones(lead, dtype=working_dtype(hidden, weight), device=hidden.device)
    factor = (factor if weights is None else factor * weights.detach()).masked_fill(drop, 0)
    reduction = options.get("reduction", "batchmean")
    if reduction == "positionmean":
        total = factor.sum()
        return (factor / torch.where(total > 0, total, 1)).flatten(), drop.flatten()
    sizes = {"sum": 1, "batchmean": lead[0], "mean": lead.numel() * weight.shape[0]}
    if reduction not in sizes:
        raise ValueError(f"reduction={reduction!r}; expected one of {', '.join(map(repr, (*sizes, 'positionmean')))}")
    return (factor / max(1, sizes[reduction])).flatten(), drop.flatten()


def _check(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    teacher: Tensor | SparseTeacher | LinearTeacher,
    options: Options,
) -> None:
    check_logits("hidden", hidden)
    check_logits("weight", weight)
    if hidden.dim() < 2 or weight.dim() != 2 or hidden.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"hidden has shape {tuple(hidden.shape)} and weight {tuple(weight.shape)}; expected (*positions, H) "
            "and (V, H)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias has shape {tuple(bias.shape)}; expected {tuple(weight.shape[:1])}")
    if "class_dim" in options:
        raise ValueError(f"class_dim={options['class_dim']}: the classes of hidden @ weight.T are last; leave it out")
    if isinstance(options.get("temperature"), Tensor):
        raise TypeError("temperature is a tensor; expected a number")
    positions: tuple[int, ...]
    if isinstance(teacher, SparseTeacher):
        positions, classes = tuple(teacher.log_tail.shape), weight.shape[0]
    elif isinstance(teacher, LinearTeacher):
        positions, classes = tuple(teacher.hidden.shape[:-1]), teacher.weight.shape[0]
    else:
        check_logits("teacher", teacher)
        positions, classes = tuple(teacher.shape[:-1]), teacher.shape[-1]
    if positions != tuple(hidden.shape[:-1]) or classes != weight.shape[0]:
        raise ValueError(
            f"teacher has positions {positions} and {classes} classes; hidden has {tuple(hidden.shape[:-1])} and "
            f"weight {weight.shape[0]}"
        )
