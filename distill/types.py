"""What travels between the rooms: a batch of samples, and what a network says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from distill.losses.sparse import SparseTeacher
from distill.losses.top_k import TopK
from distill.transfer import sent


class Batch(NamedTuple):
    """Samples of one step.

    images: (N, C, H, W) float in [0, 1], augmented, not yet normalised: each network normalises for itself.
    targets: (N,) int64 class indices, or (N, C) float class probabilities (mixed labels).
    indices: (N,) int64 names of the samples within their split; None where the loader has none to give.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor | None = None


_ON_PROCESSOR: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def sent_indices(indices: Tensor, device: torch.device) -> Tensor:
    """(N,) indices from the processor on a device, of which `indices_on_processor` knows where they came from."""
    there = sent(indices, device)
    if there is not indices:
        _ON_PROCESSOR[there] = indices
    return there


def indices_on_processor(indices: Tensor) -> Tensor:
    """The same on the processor; without waiting for the device where `sent_indices` sent this very tensor."""
    known: Tensor | None = _ON_PROCESSOR.get(indices)
    return indices.cpu() if known is None else known


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
