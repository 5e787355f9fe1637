"""What methods for transformers share: features as tokens, which of them count, and attention by heads.

Tokens are (N, T, D). Padding, where the batch's `attention_mask` is 0, counts nowhere. Queries, keys and values have
their heads one behind the other in D.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from distill.methods.base import Method
from distill.methods.taps import ATTENTION
from distill.types import Batch, Outputs

Pair = tuple[Tensor, Tensor]


def paired_tokens(method: Method, student: Outputs, teacher: Outputs) -> list[Pair]:
    """The tapped features in pairs, (N, T, D_student) and (N, T, D_teacher).

    Raises:
        ValueError: one is no tokens, or both networks have other numbers of them.
    """
    pairs = method.pairs(student, teacher)
    for (ours, theirs), *names in zip(pairs, method.taps.student, method.taps.teacher, strict=True):
        for feature, side, name in zip((ours, theirs), ("student", "teacher"), names, strict=True):
            if feature.ndim != 3:
                raise ValueError(
                    f"{type(method).__name__}: {side}_layers: {name!r} gives {tuple(feature.shape)}; must be tokens "
                    "(N, T, D), as the blocks of transformers give them"
                )
        if ours.shape[1] != theirs.shape[1]:
            raise ValueError(
                f"{type(method).__name__}: {names[0]!r} gives {ours.shape[1]} tokens and {names[1]!r} "
                f"{theirs.shape[1]}; both networks must see the same tokens"
            )
    return pairs


def heads_of(method: Method, student: Outputs, teacher: Outputs, asked: int | None = None) -> int:
    """Heads of attention that both networks have, or into which their queries, keys and values are to be cut anew.

    Raises:
        ValueError: they differ, are unknown, or do not divide the width of what is tapped.
    """
    name = type(method).__name__
    sides = ((student, method.taps.student), (teacher, method.taps.teacher))
    known = {
        layout.heads if (layout := outputs.layouts.get(tap)) else None
        for outputs, taps in sides
        for tap in taps
        if asked is None and any(tap.rpartition(".")[2] in names for names in ATTENTION.values())
    }
    heads = asked if asked is not None else next(iter(known)) if len(known) == 1 else None
    if heads is None:
        told = " and ".join(sorted(map(str, known)))
        raise ValueError(
            f"{name}: student and teacher have {told} heads of attention; must be as many: give the student "
            "student.config={num_attention_heads: ...}"
        )
    widths = {outputs.features[tap].shape[-1] for outputs, taps in sides for tap in taps}
    if asked is not None and any(width % heads for width in widths):
        raise ValueError(f"{name}: heads={heads}: must divide the networks' widths, {sorted(widths)}")
    return heads


def counted_tokens(batch: Batch, tokens: Tensor) -> Tensor:
    """(N, T) bool, which tokens are no padding."""
    mask = batch.inputs.get("attention_mask") if isinstance(batch.inputs, Mapping) else None
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if mask is None else mask.bool()


def by_head(tokens: Tensor, heads: int) -> Tensor:
    """(N, T, D) to (N, heads, T, D / heads)."""
    cut: Tensor = tokens.unflatten(-1, (heads, -1))
    return cut.transpose(1, 2)


def attention_scores(queries: Tensor, keys: Tensor) -> Tensor:
    """(N, heads, T, d) twice to (N, heads, T, T): the products over the root of d, before any softmax."""
    return torch.matmul(queries, keys.transpose(-1, -2)) / math.sqrt(queries.shape[-1])
