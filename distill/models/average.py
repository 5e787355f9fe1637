"""One update step of a moving average of weights."""

from collections.abc import Mapping

import torch
from torch import Tensor


@torch.no_grad()
def follow(average: Mapping[str, Tensor], current: Mapping[str, Tensor], keep: float) -> None:
    """Move an average of state dicts in place: to keep * average + (1 - keep) * current; counters are copied."""
    for name, value in average.items():
        theirs = current[name].to(value)
        if value.is_floating_point():
            value.lerp_(theirs, 1 - keep)
        else:
            value.copy_(theirs)
