"""What a pretrained network expects of its images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How images in [0, 1] become what a network was trained on; None leaves a part to the data set.

    A builder that knows attaches one to the module it returns; a class of the user's may have one as its attribute
    `distill_preprocessing`.

    mean, std: subtracted and divided by, one value a channel. size: side of the square input, in pixels.
    trained: every layer has trained weights, the last one for the classes of the data.
    untrained: the builder's settings that give the same layers without a look for pretrained weights.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None
    trained: bool = False
    untrained: Mapping[str, Any] = field(default_factory=dict)


def attach_preprocessing(module: nn.Module, preprocessing: Preprocessing) -> nn.Module:
    """Say of `module` what it expects, for preprocessing_of to tell; returns the module."""
    object.__setattr__(module, "distill_preprocessing", preprocessing)
    return module


def preprocessing_of(module: nn.Module) -> Preprocessing:
    """Return what was said of `module`, or a Preprocessing that leaves everything to the data set."""
    found = getattr(module, "distill_preprocessing", None)
    return found if isinstance(found, Preprocessing) else Preprocessing()
