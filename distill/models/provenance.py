"""Detects whether a network comes with trained weights: it is built twice, and random weights differ."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from distill.models.lazy import is_lazy

MOST = 0.5  # of the weights, that are the same in both: tables of positions and fixed filters are a few


@dataclass(frozen=True, slots=True)
class Provenance:
    """What building a network twice says of its weights.

    pretrained: most are the same each time.
    anew: the layers that are not, by name; random weights, such as those of a new head.
    """

    pretrained: bool
    anew: tuple[str, ...] = ()

    def in_words(self) -> str:
        """For the account of a run; empty for a network of random weights."""
        if not self.pretrained:
            return ""
        if not self.anew:
            return "trained already, for they are the same each time that it is built"
        return f"trained already, but for {', '.join(self.anew)}: the others are the same each time that it is built"


UNKNOWN = Provenance(pretrained=False)
"""Of weights that are random, as far as can be seen."""


def provenance(built: nn.Module, build: Callable[[], nn.Module]) -> Provenance:
    """Build a network once more and compare.

    A builder that seeds torch's generator itself tells nothing: its weights are taken for random ones.

    Args:
        built: what `build` made just now. The states of torch's, numpy's and Python's generators stay as they are.
        build: makes the same again, with the random numbers that come next.
    """
    if is_lazy(built) or not (first := _weights(built)):
        return UNKNOWN
    before, others = torch.get_rng_state(), (random.getstate(), np.random.get_state())
    try:
        torch.rand(1)  # so that a builder that draws nothing leaves another state than one that sets it
        again = _weights(build())
        seeds_itself = torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_rng_state(before)
        random.setstate(others[0])
        np.random.set_state(others[1])
    if seeds_itself:
        return UNKNOWN
    same = {name for name, weight in first.items() if name in again and torch.equal(weight, again[name])}
    share = sum(first[name].numel() for name in same) / sum(weight.numel() for weight in first.values())
    anew = tuple(name.rpartition(".")[0] or name for name in first if name not in same)
    return Provenance(pretrained=True, anew=anew) if share > MOST else UNKNOWN


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """Matrices and kernels by name; vectors, and what is the same all over, start so in random networks too."""
    return {
        name: value
        for name, value in network.state_dict().items()
        if value.is_floating_point() and value.ndim > 1 and value.min() != value.max()
    }
