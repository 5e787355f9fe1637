"""Logits made ready for a loss: as rows, standardised, or without the true class.

A logit of -inf is a class that is ruled out, of probability 0: divergences take it.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def precise(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same values in at least float32; a gradient goes back in the dtype that came."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def logits_fault(logits: Float[Tensor, "n c *positions"]) -> str | None:
    """What of (N, C, *positions) logits makes no distribution; None: nothing.

    That is NaN, +inf, or a position where every class is ruled out.
    """
    if bool(logits.isnan().any()):
        return "NaN"
    if bool((logits == math.inf).any()):
        return "+inf"
    return "-inf for every class" if bool((logits == -math.inf).all(1).any()) else None


def ruled_out(logits: Float[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Which logits are -inf, bool."""
    return logits == -math.inf


def gap(
    values: Float[Tensor, "n *shape"], others: Float[Tensor, "n *shape"], least: float = 1e-30
) -> Float[Tensor, "n"]:
    """How far (N, ...) values are from others as a share of the size of these, (N,), each the largest of its sample.

    -inf on both sides is the same; on one side alone it is infinitely far. NaN is NaN.

    least: what the size counts as, where it is less.
    """
    far = (values - others).abs().masked_fill(ruled_out(values) & ruled_out(others), 0)
    size = others.abs().masked_fill(ruled_out(others), 0)
    return far.flatten(1).amax(1) / size.flatten(1).amax(1).clamp_min(least)


def as_rows(logits: Float[Tensor, "n c *positions"]) -> Float[Tensor, "rows c"]:
    """(N, C) or (N, C, *positions) of any float dtype -> (N * positions, C) of at least float32."""
    return precise(logits).movedim(1, -1).flatten(0, -2)


def standardize(logits: Float[Tensor, "n c *positions"], eps: float = 1e-7) -> Float[Tensor, "n c *positions"]:
    """Z-score over the classes: (z - mean) / (std + eps), std with Bessel's correction (arXiv:2403.01427).

    logits: (N, C) or (N, C, *positions). Comes back in at least float32 and the same shape; rows whose logits are all
    equal, and so any row with C = 1, become 0 and take no gradient.
    """
    logits = precise(logits)
    flat = (logits == logits[:, :1]).all(1, keepdim=True)  # where the square root has no gradient, or one of rounding
    centred = (logits - logits.mean(1, keepdim=True)).masked_fill(flat, 0)
    variance = centred.square().sum(1, keepdim=True) / max(1, logits.shape[1] - 1)
    return centred / (variance.masked_fill(flat, 1).sqrt() + eps)


def split_classes(
    rows: Float[Tensor, "n c"], classes: Int[Tensor, "n"]
) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n c-1"]]:
    """(N, C) logits, (N,) classes -> logits of these classes (N, 1) and, in their order, of all others (N, C - 1)."""
    index = torch.arange(rows.shape[1] - 1, device=rows.device).expand(len(rows), -1)
    own = classes.unsqueeze(1)
    return rows.gather(1, own), rows.gather(1, index + (index >= own))
