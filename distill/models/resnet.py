"""ResNets for 32x32 images (He et al., 1512.03385, section 4.2), in the widths that distillation tables use."""

from collections import OrderedDict

from torch import Tensor, nn

from distill.errors import SettingError
from distill.models.staged import check_positive, conv_bn_relu, initialise, staged


def cifar_resnet(
    *, depth: int, width: int = 1, stem_width: int = 16, num_classes: int, in_channels: int = 3
) -> nn.Module:
    """ResNet-`depth` with three stages of (16, 32, 64) x width channels at full, half and quarter resolution.

    depth counts convolutions and the head: 6n + 2 for n blocks a stage. The `x4` networks of the tables (resnet8x4,
    resnet32x4) have width=4 and stem_width=32. `layer*.*.preact` gives what a block adds up, before its last ReLU.

    Raises:
        SettingError: depth is not 6n + 2, or a size is less than 1.
    """
    if depth < 8 or (depth - 2) % 6:
        raise SettingError(f"depth={depth}: must be 6n + 2, such as 8, 14, 20, 32, 44, 56 or 110")
    check_positive(width=width, stem_width=stem_width, in_channels=in_channels)
    blocks, widths = (depth - 2) // 6, [16 * width, 32 * width, 64 * width]
    inputs, stages = [stem_width, *widths], []
    for i, channels in enumerate(widths):
        first = BasicBlock(inputs[i], channels, stride=1 if i == 0 else 2)
        stages.append(nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1))))
    network = staged(
        stem=conv_bn_relu(in_channels, stem_width, 3), stages=stages, features=widths[-1], num_classes=num_classes
    )
    initialise(network)
    return network


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _projection(in_channels, channels, stride)
        self.preact = nn.Identity()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        y: Tensor = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(self.preact(y + self.shortcut(x)))
        return out


def _projection(in_channels: int, channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    conv = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels)))
