"""A small convolutional network for images of 8 to 28 pixels: quick on a CPU, the default of a first run."""

import math
from collections import OrderedDict
from typing import Literal, get_args

from torch import nn

from distill.errors import SettingError
from distill.models.map_cnn import map_cnn
from distill.models.staged import check_positive, initialise, staged

Norm = Literal["group", "batch", "none"]


def cnn(
    *, num_classes: int, in_channels: int = 3, width: int = 16, norm: Norm = "group", task: str = "classification"
) -> nn.Module:
    """Four 3x3 convolutions of (1, 1, 2, 4) x width channels; layer2 and layer3 halve the resolution.

    task: what the data asks of it; for masks it is a `distill.models.map_cnn.map_cnn` of the same width.

    norm: "group" and "none" treat every sample by itself, so that a result does not depend on how a batch is split
    over devices; "batch" does not.

    Raises:
        SettingError: norm is none of these, or a size is less than 1.
    """
    if norm not in get_args(Norm):
        raise SettingError(f"norm={norm!r}: must be one of {', '.join(get_args(Norm))}")
    check_positive(num_classes=num_classes, width=width, in_channels=in_channels)
    if task == "segmentation":
        return map_cnn(num_classes=num_classes, in_channels=in_channels, width=width)
    network = staged(
        stem=_conv(in_channels, width, norm),
        stages=[
            _conv(width, width, norm),
            nn.Sequential(nn.MaxPool2d(2), _conv(width, 2 * width, norm)),
            nn.Sequential(nn.MaxPool2d(2), _conv(2 * width, 4 * width, norm)),
        ],
        features=4 * width,
        num_classes=num_classes,
    )
    initialise(network)
    return network


def _conv(in_channels: int, channels: int, norm: Norm) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = nn.Conv2d(in_channels, channels, 3, padding=1, bias=norm == "none")
    if norm == "batch":
        parts["norm"] = nn.BatchNorm2d(channels)
    elif norm == "group":
        parts["norm"] = nn.GroupNorm(math.gcd(channels, 8), channels)
    parts["relu"] = nn.ReLU()
    return nn.Sequential(parts)
