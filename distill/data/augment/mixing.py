"""How much of a sample is kept, pixel by pixel, when it is blended with another."""

from functools import lru_cache

import torch
from torch import Tensor

from distill.data.augment.geometry import box
from distill.devices import to_device

_STEPS = 4096


def kept(mixup: float, cutmix: float, draws: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Weight of each pixel of a sample, and their mean; its partner's is the rest.

    Args:
        mixup, cutmix: parameters of the Beta distributions, not both 0; with both, the first draw chooses one.
        draws: (N, 4) in [0, 1).
        height, width: of the images.

    Returns:
        (N, 1, height, width) float32 in [0, 1], or (N, 1, 1, 1) where all pixels of a sample have the same; (N, 1).
    """
    choice, amount, vertical, horizontal = draws.unbind(1)
    blended = beta(mixup, amount)[:, None] if mixup else torch.zeros_like(amount)[:, None]
    if not cutmix:
        return blended[:, :, None, None], blended
    # The side of a rectangle that holds the partner's share of the area; its middle lies anywhere in the image.
    side = (1 - beta(cutmix, amount)).sqrt()
    tall, wide = (side * height).long(), (side * width).long()
    top, left = (vertical * height).long() - tall // 2, (horizontal * width).long() - wide // 2
    outside = 1 - box(top, left, tall, wide, height, width).float()
    cut = choice[:, None] < 0.5 if mixup else torch.ones_like(blended, dtype=torch.bool)
    share = outside.mean((2, 3))  # of zeros and ones, which add up alike in any order
    return torch.where(cut[:, :, None, None], outside, blended[:, :, None, None]), torch.where(cut, share, blended)


def beta(alpha: float, draws: Tensor) -> Tensor:
    """(N,) values in [0, 1] distributed as Beta(alpha, alpha) for (N,) uniform draws, by its inverted distribution."""
    table = _quantiles(alpha, draws.device)
    place = draws * _STEPS
    low = place.long()
    return torch.lerp(table[low], table[low + 1], place - low)


@lru_cache
def _quantiles(alpha: float, device: torch.device) -> Tensor:
    """(_STEPS + 1,) the inverse of Beta(alpha, alpha)'s distribution function at equal steps from 0 to 1."""
    from scipy.special import betaincinv  # takes a third of a second

    table = torch.from_numpy(betaincinv(alpha, alpha, torch.linspace(0, 1, _STEPS + 1).double().numpy()))
    return to_device(table.float(), device)
