"""What the rest of the package asks of a split, whatever its samples are."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from distill.inputs import Inputs
from distill.types import Batch


class Samples(Protocol):
    """The samples of a split: images in memory or from files, or token sequences."""

    @property
    def targets(self) -> Tensor:
        """(N, ...) labels, as the task has them."""
        ...

    @property
    def lengths(self) -> Tensor | None:
        """(N,) int64, how long each sample is, so that like lengths can share a batch; None where all are alike."""
        ...

    def __len__(self) -> int: ...

    def inputs(self, indices: Tensor) -> Inputs:
        """Samples at (n,) indices as a network takes them, unaugmented, on the CPU."""
        ...

    def name(self, index: int) -> str:
        """What to call a sample in messages and tables."""
        ...

    def contents(self) -> Iterator[bytes | memoryview]:
        """Bytes that differ where samples or labels do, for the key under which a teacher's answers are kept."""
        ...


class Sequences(Samples, Protocol):
    """Samples that are padded to the longest of their batch."""

    def batch(self, indices: Tensor) -> Batch:
        """Samples at (n,) indices, on the CPU: inputs by name, targets and `valid` as the task has them."""
        ...

    def text(self, index: int) -> str:
        """A sample as people read it."""
        ...
