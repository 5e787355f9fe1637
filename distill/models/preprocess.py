"""What a network does to its inputs before its backbone sees them."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.errors import SettingError
from distill.inputs import Inputs

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, as Pillow makes grey images (ITU-R 601-2)


class Preprocess(nn.Module):
    """Brings images in [0, 1] (or uint8) to the size and statistics that a network was made for.

    Args:
        mean, std: per channel, in units of [0, 1] images; None leaves the values as they are.
        size: side length in pixels; None takes images as they come.
        channels: 3 shows grey images as RGB, 1 RGB images as grey; None takes images as they come.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        size: int | None,
        channels: int | None = None,
    ) -> None:
        super().__init__()
        if (mean is None) != (std is None):
            raise SettingError(f"mean={mean} and std={std}: give both or neither")
        if std is not None and min(std) <= 0:
            raise SettingError(f"std={list(std)}: every value must be above 0")
        self.size, self.channels = size, channels
        self.dtype: torch.dtype | None = None  # of what comes out; None: as it happens
        self.register_buffer("mean", _per_channel(mean), persistent=False)
        self.register_buffer("std", _per_channel(std), persistent=False)

    def forward(self, images: Inputs) -> Inputs:
        """(N, C, H, W) in, (N, channels, size, size) out; tensors by name, such as tokens, stay as they are."""
        if not isinstance(images, Tensor):
            return images
        if images.dtype == torch.uint8:
            images = images.float() / 255
        if self.channels is not None and images.shape[1] != self.channels:
            images = _in_channels(images, self.channels)
        if self.size is not None and images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        if self.mean is not None and self.std is not None:
            images = (images - self.mean) / self.std
        return images if self.dtype is None else images.to(self.dtype)

    def settings(self) -> dict[str, Any]:
        """The arguments, as plain numbers."""
        mean, std = (None if values is None else _shortest(values) for values in (self.mean, self.std))
        return {"mean": mean, "std": std, "size": self.size, "channels": self.channels}


def _in_channels(images: Tensor, channels: int) -> Tensor:
    """(N, 1, H, W) grey as RGB, or (N, 3, H, W) RGB as grey."""
    if channels == 1:
        return sum(weight * images[:, place : place + 1] for place, weight in enumerate(LUMA))  # type: ignore[return-value]
    return images.expand(-1, channels, -1, -1)


def _per_channel(values: Sequence[float] | None) -> Tensor | None:
    return None if values is None else torch.tensor(list(values), dtype=torch.float32).view(-1, 1, 1)


def _shortest(values: Tensor) -> list[float]:
    """float32 numbers with the fewest digits that tell them: 0.485, not 0.48500001430511475."""
    return [float(str(value)) for value in values.flatten().cpu().numpy()]
