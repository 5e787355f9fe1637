"""How well two rows of numbers go together: Pearson's and Spearman's correlation, also where samples have weights."""

import torch
from torch import Tensor


def pearson(first: Tensor, second: Tensor, weights: Tensor | None = None) -> Tensor:
    """The correlation of numbers (N,), or (B, N); 0 where either are all alike.

    weights: (B, N) how often each sample counts; None: once.

    Returns:
        () or (B,) float64.
    """
    first, second = first.double(), second.double()
    weights = torch.ones_like(first) if weights is None else weights.double()
    share = weights / weights.sum(-1, keepdim=True)
    a, b = (values - (share * values).sum(-1, keepdim=True) for values in (first, second))
    together = (share * a * b).sum(-1)
    apart = ((share * a * a).sum(-1) * (share * b * b).sum(-1)).sqrt()
    return torch.where(apart > 0, together / apart.where(apart > 0, 1), 0)


def spearman(first: Tensor, second: Tensor, weights: Tensor | None = None) -> Tensor:
    """Pearson's correlation of the ranks of numbers (N,), equal ones sharing the mean of theirs; else as `pearson`."""
    return pearson(ranks(first, weights), ranks(second, weights), weights)


def ranks(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """(N,) or (B, N) float64: the rank of each of (N,) numbers among samples that count as often as (B, N) says."""
    weights = torch.ones(len(values)) if weights is None else weights
    _, place = values.unique(return_inverse=True)
    held = torch.zeros(*weights.shape[:-1], int(place.max()) + 1, dtype=torch.float64)
    held.scatter_add_(-1, place.expand(weights.shape), weights.double())
    return (held.cumsum(-1) - (held - 1) / 2).gather(-1, place.expand(weights.shape))
