"""A small network that names the class of each pixel: `cnn` where masks are to be learned."""

import math

from torch import Tensor, nn

from distill.models.segmenter import MapHead, Segmenter
from distill.models.staged import initialise


class Pyramid(nn.Module):
    """Four stages of convolutions, at a half, a quarter, an eighth and a sixteenth of the image's sides.

    Args:
        in_channels: of images.
        width: the stages have (1, 2, 4, 4) x width channels.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.stem = _conv(in_channels, width, stride=2)
        self.layer1 = _conv(width, width)
        self.layer2 = nn.Sequential(_conv(width, 2 * width, stride=2), _conv(2 * width, 2 * width))
        self.layer3 = nn.Sequential(_conv(2 * width, 4 * width, stride=2), _conv(4 * width, 4 * width))
        self.layer4 = nn.Sequential(_conv(4 * width, 4 * width, stride=2), _conv(4 * width, 4 * width))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) to four maps, the largest first."""
        maps = [self.layer1(self.stem(images))]
        for stage in (self.layer2, self.layer3, self.layer4):
            maps.append(stage(maps[-1]))
        return maps


def map_cnn(*, num_classes: int, in_channels: int, width: int) -> nn.Module:
    """A `Pyramid` under a `MapHead`, whose logits have half the image's sides."""
    network = Segmenter(
        Pyramid(in_channels, width), MapHead([width, 2 * width, 4 * width, 4 * width], width, num_classes)
    )
    initialise(network)
    return network


def _conv(in_channels: int, channels: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(math.gcd(channels, 8), channels), nn.ReLU())
