"""Where the pixels of an augmented image lay before: what moves an image moves its masks and boxes by this."""

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.devices import to_device


@dataclass(frozen=True, slots=True)
class Placement:
    """Of each image of a batch, which pixel of the original each of its pixels shows.

    Places are in pixels, x to the right and y down from the centre of the first one.

    matrix: (n, 2, 3) float64: pixel (x, y) shows what lay at matrix @ (x, y, 1); whatever was done to an image, one
        after the other, comes to one such matrix.
    height, width: of the images that came out.
    visible: (n, 2, 2) float64: left and right, then top and bottom edge of what is left of the original, in it; beyond
        these an image was cut off, and later padded.
    """

    matrix: Tensor
    height: int
    width: int
    visible: Tensor

    @classmethod
    def none(cls, count: int, height: int, width: int) -> "Placement":
        """Of images that stay as they are."""
        matrix = torch.eye(2, 3, dtype=torch.float64).expand(count, -1, -1)
        return cls(matrix, height, width, _frame(matrix, height, width))

    def then(self, matrix: Tensor, height: int | None = None, width: int | None = None) -> "Placement":
        """After one more operation: its (n, 2, 3) matrix, and the size that it gives, if it gives another."""
        height, width = height or self.height, width or self.width
        last = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(len(matrix), 1, 3)
        both = self.matrix @ torch.cat([matrix.cpu().double(), last], 1)
        low, high = _frame(both, height, width).unbind(2)
        left, right = self.visible.unbind(2)
        return Placement(both, height, width, torch.stack([low.maximum(left), high.minimum(right)], 2))

    def masks(self, masks: Tensor, fill: int) -> Tensor:
        """(n, H, W) whole numbers as (n, height, width): each pixel the nearest one's; `fill` where none is visible."""
        matrix, visible = (to_device(x, masks.device) for x in (self.matrix, self.visible))
        x = torch.arange(self.width, device=masks.device, dtype=matrix.dtype)
        y = torch.arange(self.height, device=masks.device, dtype=matrix.dtype)[:, None]
        nearest, shown = [], torch.ones((), dtype=torch.bool, device=masks.device)
        for row, edges, size in zip(matrix.unbind(1), visible.unbind(1), masks.shape[:0:-1], strict=True):
            a, b, c = row[:, :, None, None].unbind(1)
            low, high = edges[:, :, None, None].unbind(1)
            place = a * x + b * y + c
            shown = shown & (place >= low) & (place <= high)
            nearest.append((place + 0.5).floor().long().clamp(0, size - 1))
        places = nearest[1] * masks.shape[2] + nearest[0]
        return masks.flatten(1).gather(1, places.flatten(1)).view_as(places).where(shown, fill)


def _frame(matrix: Tensor, height: int, width: int) -> Tensor:
    """(n, 2, 2) the edges of images of a size, in their originals; sides stay sides, as nothing is turned aslant."""
    corners = torch.tensor([[-0.5, width - 0.5], [-0.5, height - 0.5], [1.0, 1.0]], dtype=torch.float64)
    return (matrix @ corners).sort(2).values
