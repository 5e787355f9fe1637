"""Networks that name the class of each pixel: a backbone that gives maps of several sizes, and a small head."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class MapHead(nn.Module):
    """Brings maps of several sizes together at the largest of them, and classes at each of its positions.

    Each map goes through a 1x1 convolution to `width` channels and is added to the next larger one, as in a feature
    pyramid (1612.03144); a 3x3 convolution, a GroupNorm and the classifier, a 1x1 convolution, follow.

    Args:
        channels: of the maps, the largest map first.
        width: channels inside.
        num_classes: of the logits.
    """

    def __init__(self, channels: Sequence[int], width: int, num_classes: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.fuse = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(math.gcd(width, 8), width), nn.ReLU()
        )
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, channels[i], h_i, w_i) maps to (N, classes, h_0, w_0) logits."""
        narrow = [convolve(feature) for convolve, feature in zip(self.lateral, maps, strict=True)]
        total = narrow[-1]
        for feature in narrow[-2::-1]:
            total = feature + F.interpolate(total, feature.shape[2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.classifier(self.fuse(total))
        return logits


class Segmenter(nn.Module):
    """A backbone and a head.

    Args:
        backbone: maps images to a sequence of maps, the largest first.
        head: maps these to logits.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, classes, h, w) logits, at the size of the backbone's largest map."""
        logits: Tensor = self.head(self.backbone(images))
        return logits
