"""MobileNetV2 (Sandler et al., 1801.04381) for 32x32 images, in the form that distillation tables use."""

from collections import OrderedDict

from torch import Tensor, nn

from distill.errors import SettingError
from distill.models.staged import check_positive, conv_bn_relu, initialise, staged

# (expand?, channels at width 1, blocks, stride of the first): one row for each stage of equal resolution.
STAGES = (
    ((False, 16, 1, 1), (True, 24, 2, 1)),
    ((True, 32, 3, 2),),
    ((True, 64, 4, 2), (True, 96, 3, 1)),
    ((True, 160, 3, 2), (True, 320, 1, 1)),
)
NECK_WIDTH = 1280


def cifar_mobilenet_v2(*, width: float = 0.5, expansion: int = 6, num_classes: int, in_channels: int = 3) -> nn.Module:
    """MobileNetV2 with a third of the usual downsampling: 32x32 images leave layer1 to layer4 at 16, 8, 4 and 2 pixels.

    width scales all channels but the last 1280 (scaled only above 1). The tables' network is width 0.5, expansion 6,
    with plain ReLU.

    Raises:
        SettingError: width leaves a layer without channels, or another size is less than 1.
    """
    if width < 1 / 16:
        raise SettingError(f"width={width}: must be at least 0.0625, so that the narrowest layer has a channel")
    check_positive(expansion=expansion, in_channels=in_channels)
    channels = int(32 * width)
    stem = conv_bn_relu(in_channels, channels, 3, stride=2)
    stages = []
    for rows in STAGES:
        blocks: list[nn.Module] = []
        for expand, base, count, stride in rows:
            for i in range(count):
                factor = expansion if expand else 1
                blocks.append(InvertedResidual(channels, int(base * width), stride if i == 0 else 1, factor))
                channels = int(base * width)
        stages.append(nn.Sequential(*blocks))
    features = int(NECK_WIDTH * max(width, 1))
    neck = conv_bn_relu(channels, features, 1)
    network = staged(stem=stem, stages=stages, neck=neck, features=features, num_classes=num_classes)
    initialise(network, head_std=0.01)
    return network


class InvertedResidual(nn.Module):
    """Widen (1x1), filter each channel (3x3), narrow again without activation; added to the input where it fits."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.residual = stride == 1 and in_channels == channels
        self.expand = conv_bn_relu(in_channels, hidden, 1)
        self.depthwise = conv_bn_relu(hidden, hidden, 3, stride=stride, groups=hidden)
        conv = nn.Conv2d(hidden, channels, 1, bias=False)
        self.project = nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y
