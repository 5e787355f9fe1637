"""Stateless random numbers: each is a hash of seed, epoch and sample.

Augmentation draws from here, so that what a sample looks like is a function of (seed, epoch, index) alone, on any
device, in any order, in any number of processes; and so do methods that mask features or choose other samples.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
Number = TypeVar("Number", int, Tensor)
Uniform = Callable[[int, int, Tensor, int], Tensor]
"""As `uniform`."""


def uniform(seed: Number, epoch: int, indices: Tensor, draws: int) -> Tensor:
    """Numbers in [0, 1) for samples of an epoch.

    Args:
        seed, epoch: whole numbers; a seed may be a tensor, ().
        indices: (N,) int64.
        draws: how many for each sample; the first of them do not depend on how many follow.

    Returns:
        (N, draws) float32 with 24 random bits, on the device of `indices`.
    """
    return (whole_numbers(seed, epoch, indices, draws) >> 8).float() * 2.0**-24


def whole_numbers(seed: Number, epoch: int, indices: Tensor, draws: int) -> Tensor:
    """As `uniform`, from 0 to 2^32 - 1: (N, draws) int64."""
    state = _mix(_mix(indices ^ _mix(seed & _MASK)) ^ _mix((epoch + 0x9E3779B9) & _MASK))
    streams = torch.arange(1, draws + 1, device=indices.device) * 0x9E3779B9
    return _mix((state[:, None] + streams) & _MASK)


class Drawn:
    """`uniform` for a split in memory: an epoch's numbers are worked out for all samples at once, and looked up.

    Args:
        count: of samples.
    """

    def __init__(self, count: int) -> None:
        self._everything = torch.arange(count)
        self._epoch: int | None = None
        self._tables: dict[tuple[int, int], Tensor] = {}

    def __call__(self, seed: int, epoch: int, indices: Tensor, draws: int) -> Tensor:
        """As `uniform`."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._tables.clear()
        if (seed, draws) not in self._tables:
            self._tables[seed, draws] = uniform(seed, epoch, self._everything, draws)
        return self._tables[seed, draws].index_select(0, indices)


def _mix(x: Number) -> Number:
    """Scramble 32-bit numbers: shifts and odd multipliers, so that each bit reaches all others."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)
