"""A split whose images lie in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from distill.data.augment.color import to_float


@dataclass(frozen=True, slots=True)
class Split:
    """Images in memory.

    images: (N, C, H, W) uint8.
    targets: (N, ...), as the task has them: (N,) int64 class indices, (N, C) int64 of 0 and 1, (N, H, W) uint8 masks.
    names: of the images, such as paths; where there are none, an image's place in the split is its name.
    """

    images: Tensor
    targets: Tensor
    names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def show(self, indices: Tensor) -> Tensor:
        """(n, C, H, W) uint8: the images at (n,) indices, unaugmented."""
        return self.images[indices]

    @property
    def lengths(self) -> None:
        """Images are of one size."""
        return None

    def inputs(self, indices: Tensor) -> Tensor:
        """(n, C, H, W) float in [0, 1]: the images at (n,) indices, unaugmented."""
        return to_float(self.show(indices))

    def name(self, index: int) -> str:
        """What to call an image."""
        return self.names[index] if self.names else str(index)

    def contents(self) -> Iterator[bytes | memoryview]:
        """Of all images and labels."""
        yield f"{self.shape} {len(self)}".encode()
        yield self.targets.numpy().tobytes()
        yield f"{tuple(self.images.shape)}".encode()
        yield self.images.contiguous().view(-1).numpy().data
