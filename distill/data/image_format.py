"""What the images of a data set are, and how a file becomes one of them."""

import math
from dataclasses import dataclass
from typing import ClassVar

MOST_VALUES = 2**28  # of one image


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """Images (C, H, W), uint8 or in [0, 1].

    channels: 3 for colour, 1 for grey.
    height, width: in pixels.
    resize: side in pixels to which a file's shorter side is scaled before the middle is cut out; None where the samples
        are no files but arrays of this size.
    """

    channels: int
    height: int
    width: int
    resize: int | None = None
    kind: ClassVar[str] = "images"

    def __post_init__(self) -> None:
        if not 0 < math.prod(self.shape) <= MOST_VALUES:  # a file says so
            raise ValueError(f"images of {self.shape} have no size that memory holds")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width
