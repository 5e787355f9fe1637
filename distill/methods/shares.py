"""Means over the positions that count, where the processes of a training have different numbers of them."""

from collections.abc import Mapping

from torch import Tensor

from distill.processes import process_and_count, sum_over_processes
from distill.types import Batch


def share_of_positions(batch: Batch) -> Tensor | float:
    """What this process's mean over the positions that count is multiplied by, so that the mean over the processes of
    the products is the mean over all positions: positions here, over the mean of their number. 1 in one process, where
    all positions count, and where `counted` says what sums are divided by."""
    if batch.valid is None or batch.counted is not None or process_and_count()[1] == 1:
        return 1.0
    here = batch.valid.sum().double()
    share: Tensor = here * process_and_count()[1] / sum_over_processes(here).clamp_min(1)
    return share


def by_share_of_positions(terms: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """The terms of a loss, means over the positions that count here, times this share."""
    share = share_of_positions(batch)
    return {name: (share * term).to(term) for name, term in terms.items()}
