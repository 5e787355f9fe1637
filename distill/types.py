"""What travels between the rooms: a batch of samples, and what a network says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Samples of one step.

    images: (N, C, H, W) float in [0, 1], augmented, not yet normalised: each network normalises for itself.
    targets: (N,) int64 class indices, or (N, C) float class probabilities (mixed labels).
    indices: (N,) int64 names of the samples within their split; None where the loader has none to give.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a network says of a batch.

    logits: (N, C) or (N, C, *positions), any float dtype.
    features: tensors by tap name; empty where no method asked for any.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
