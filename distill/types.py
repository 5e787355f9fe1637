"""The two types that all parts share: a batch of samples, and a network's outputs for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from distill.devices import to_device
from distill.inputs import Inputs, first_tensor, map_tensors
from distill.losses.projection import Projection
from distill.losses.sparse import SparseTeacher
from distill.losses.top_k import TopK

SplitName = Literal["train", "val"]
FEW = 64  # positions of a language model whose logits are looked at


@dataclass(slots=True)
class Batch:
    """Samples of one step, and what of the data they are.

    inputs: images (N, C, H, W) float in [0, 1], augmented, not yet normalised: each network normalises for itself. Or
        tensors by name, (N, ...) each, such as input_ids and attention_mask (N, T) int64, T that of the longest sample.
    targets: the task's. Of images' classes: (N,) int64 indices, or (N, C) float probabilities (mixed labels).
    indices: (N,) int64 names of the samples within their split, always on the CPU; None where the loader has none.
    valid: (N, *positions) bool, which positions count; None: all.
    split: None where that is unknown, or neither of both.
    epoch: as which the samples are shown.
    counted: how many positions count in a batch, the mean over all batches and processes of an optimizer's step, by
        which sums over positions are divided; None: as many as count here.
    written: whether the student has written the targets itself, so that they are no labels to learn.

    Not frozen, because Lightning writes to a copy of it where it converts batches to another precision.
    """

    inputs: Inputs
    targets: Any
    indices: Int[Tensor, "n"] | None = None
    valid: Bool[Tensor, "n *positions"] | None = None
    split: SplitName | None = None
    epoch: int = 0
    counted: float | None = None
    written: bool = False

    def __len__(self) -> int:
        return len(first_tensor(self.inputs))

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        return first_tensor(self.inputs).device

    def to(self, device: torch.device | str) -> "Batch":
        """The same on a device, but for the indices, which name files and rows."""
        there = torch.device(device)
        return replace(self.map(lambda part: to_device(part, there)), indices=self.indices)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """What a function makes of each tensor."""
        parts = (self.inputs, self.targets, self.indices, self.valid)
        inputs, targets, indices, valid = (map_tensors(function, part) for part in parts)
        return replace(self, inputs=inputs, targets=targets, indices=indices, valid=valid)


@dataclass(frozen=True, slots=True)
class FeatureLayout:
    """How a layer's output lies in its dimensions.

    kind: 'map' (N, C, H, W), 'channels-last map' (N, H, W, C), 'tokens' (N, T, D) or 'vector' (N, D).
    grid: of tokens, height and width of the patches, which come last among the T; None where it is unknown.
    heads: of tokens that are queries, keys or values, how many heads of attention lie behind each other in D.
    """

    kind: Literal["map", "channels-last map", "tokens", "vector"]
    grid: tuple[int, int] | None = None
    heads: int | None = None


class Reading(Protocol):
    """How a network that learns labels and answers in a way of its own, as detectors do, reads its raw outputs."""

    @property
    def classes(self) -> int:
        """How many classes it answers for."""
        ...

    def label_loss(self, targets: Any) -> Float[Tensor, ""]:
        """The loss of these outputs with a batch's targets, at least float32; with gradients in training."""
        ...

    def answers(self) -> Float[Tensor, "n ..."]:
        """What scores and reports look at in place of logits, as the task has it: a detector's boxes."""
        ...


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a network says of a batch.

    logits: (N, C) or (N, C, *positions), any float dtype; (N, 0) where `top_k` is all that is known, or `projection`.
    features: tensors by tap name; empty where no method asked for any.
    top_k: the likeliest classes, of a teacher whose other logits were not kept.
    layouts: how features lie in their dimensions, by tap name; where one is unknown, its shape must tell.
    reading: of a network that learns labels by a loss of its own, and answers with more than its logits; else None.
    auxiliary: of a network with a second head that learns labels beside, its logits in training; None: it has none.
    projection: logits that are not made, (N, T, V): a language model's hidden states (N, T, H) and its output layer.
    """

    logits: Float[Tensor, "n c *positions"]
    features: Mapping[str, Float[Tensor, "n ..."]] = field(default_factory=dict)
    top_k: TopK | None = None
    layouts: Mapping[str, FeatureLayout] = field(default_factory=dict)
    reading: Reading | None = None
    projection: Projection | None = None
    auxiliary: Float[Tensor, "n c *positions"] | None = None

    @property
    def classes(self) -> int:
        """How many classes the network answers for."""
        if self.projection is not None:
            return self.projection.classes
        return self.logits.shape[1] if self.reading is None else self.reading.classes

    def answers(self) -> Any:
        """What scores and reports look at, as the task has it: the logits, a tensor or a `Projection`, or the tensor
        that the network itself reads from its raw outputs."""
        if self.projection is not None:
            return self.projection
        return self.logits if self.reading is None else self.reading.answers()

    def made(self) -> Float[Tensor, "n c *positions"]:
        """The logits; of a projection, all of them at once: (N, V, T)."""
        if self.projection is None:
            return self.logits
        logits: Tensor = self.projection.logits().unflatten(0, self.projection.positions)
        return logits.movedim(-1, 1)

    def detach(self) -> "Outputs":
        """Without gradients."""
        features = {name: feature.detach() for name, feature in self.features.items()}
        projection = None if self.projection is None else self.projection.detach()
        return replace(self, logits=self.logits.detach(), features=features, projection=projection)

    def few(self) -> Float[Tensor, "rows c *positions"]:
        """Logits to look at: all, or those of the first positions of a projection, (rows, V)."""
        return self.logits if self.projection is None else self.projection.logits(slice(0, FEW))

    def at(self, temperature: float) -> Tensor | SparseTeacher:
        """What a divergence at this temperature takes: the logits, or what was kept of them."""
        return self.logits if self.top_k is None else self.top_k.at(temperature)

    def likeliest(self) -> Int[Tensor, "n *positions"]:
        """The class that is named for each sample: (N) or (N, *positions) int64."""
        return self.logits.argmax(1) if self.top_k is None else self.top_k.indices[:, 0].long()
