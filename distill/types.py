"""What travels between the rooms: a batch of samples, and what a network says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from distill.losses.sparse import SparseTeacher
from distill.losses.top_k import TopK


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

    logits: (N, C) or (N, C, *positions), any float dtype; (N, 0) where `top_k` is all that is known.
    features: tensors by tap name; empty where no method asked for any.
    top_k: the likeliest classes, of a teacher whose other logits were not kept.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    top_k: TopK | None = None

    def at(self, temperature: float) -> Tensor | SparseTeacher:
        """What a divergence at this temperature takes: the logits, or what was kept of them."""
        return self.logits if self.top_k is None else self.top_k.at(temperature)

    def likeliest(self) -> Tensor:
        """The class that is named for each sample: (N) or (N, *positions) int64."""
        return self.logits.argmax(1) if self.top_k is None else self.top_k.indices[:, 0].long()
