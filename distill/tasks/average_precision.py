"""Average precision: how far ahead of the others what is true stands, by the order of the scores alone."""

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat


class AveragePrecision(torchmetrics.Metric):
    """Mean over labels of the average precision of each, exact over all batches; `merge_state` adds another process's.

    Nothing but all scores of a split tell it: they are kept until it is computed, and let go with `reset`. Labels that
    no sample has are left out of the mean.
    """

    full_state_update = False
    logits: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add (n, C) logits of any float dtype, and labels, (n, C), true where they are at least 0.5."""
        self.logits.append(logits.detach().float())
        self.targets.append(targets >= 0.5)

    def gathered(self) -> tuple[Tensor, Tensor]:
        """(N, C) float32 and (N, C) bool, on the CPU."""
        logits, targets = (dim_zero_cat(x) for x in (self.logits, self.targets))
        return logits.cpu(), targets.cpu()

    def compute(self) -> Tensor:
        """A scalar; NaN where no label has a sample."""
        return by_label(*self.gathered()).nanmean(0)[0]


def by_label(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """The average precision of each label: sum over thresholds of precision times the recall that is new there.

    Args:
        logits: (N, C).
        targets: (N, C) bool.
        weights: (B, N) float64, how often each sample counts; None: once, with B = 1.

    Returns:
        (C, B) float64; NaN for a label that no sample has.
    """
    weights = torch.ones(1, len(logits), dtype=torch.float64) if weights is None else weights
    return torch.stack([_of_one(*column, weights) for column in zip(logits.unbind(1), targets.unbind(1), strict=True)])


def _of_one(scores: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    """(B,) for (N,) scores and (N,) bool: samples of equal score stand behind one threshold."""
    scores, order = scores.sort(descending=True, stable=True)
    last = torch.cat([scores[1:] != scores[:-1], torch.ones(1, dtype=torch.bool)]).nonzero().flatten()
    weights = weights[:, order]
    found = (weights * positive[order]).cumsum(1)[:, last]
    precision = found / weights.cumsum(1)[:, last].clamp_min(1e-300)
    new = found.diff(dim=1, prepend=torch.zeros(len(found), 1, dtype=found.dtype))
    return (precision * new).sum(1) / found[:, -1]


def by_sample(logits: Tensor, targets: Tensor) -> Tensor:
    """The average precision of each sample's labels among themselves: (N, C) and (N, C) bool to (N,) float64.

    Mean over a sample's true labels of the share of true ones among those that score as high or higher. 1 for a sample
    without any, or with all.
    """
    true = logits.masked_fill(~targets, -torch.inf)
    above = _as_high(logits, logits)
    share = _as_high(true, logits) / above
    return torch.where(targets.any(1), (share * targets).sum(1) / targets.sum(1).clamp_min(1), 1.0)


def _as_high(among: Tensor, scores: Tensor) -> Tensor:
    """(N, C) how many of each row's entries of `among` are at least each of its scores."""
    ascending = among.sort(1).values
    return (among.shape[1] - torch.searchsorted(ascending, scores.contiguous())).double()
