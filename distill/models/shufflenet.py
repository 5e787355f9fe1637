"""ShuffleNet V1 (Zhang et al., 1707.01083) and V2 (Ma et al., 1807.11164) for 32x32 images, as in distillation tables.

Both begin with a 1x1 convolution to 24 channels and halve the resolution in each of three stages.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from distill.errors import SettingError
from distill.models.staged import check_positive, conv_bn_relu, staged

STEM_WIDTH = 24
# 4 and 8 groups, which the paper has too, do not divide the channels of the block behind so narrow a stem.
V1_WIDTHS = {1: (144, 288, 576), 2: (200, 400, 800), 3: (240, 480, 960)}
V1_BLOCKS = (4, 8, 4)
V2_WIDTHS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
V2_BLOCKS = (4, 8, 4)


def cifar_shufflenet_v1(*, groups: int = 3, num_classes: int, in_channels: int = 3) -> nn.Module:
    """ShuffleNet V1 at its full width for `groups` groups (the paper's table 1); 3 in distillation tables.

    Raises:
        SettingError: groups is not one of 1, 2, 3, or in_channels is less than 1.
    """
    if groups not in V1_WIDTHS:
        raise SettingError(f"groups={groups}: must be one of {', '.join(map(str, V1_WIDTHS))}")
    check_positive(in_channels=in_channels)
    widths = (STEM_WIDTH, *V1_WIDTHS[groups])
    stages = []
    for before, after, count in zip(widths, widths[1:], V1_BLOCKS, strict=False):
        # The paper keeps the very first pointwise convolution whole: its input is too narrow to be grouped.
        first = V1Block(before, after, stride=2, groups=groups, first_groups=1 if before == STEM_WIDTH else groups)
        rest = (V1Block(after, after, stride=1, groups=groups, first_groups=groups) for _ in range(count - 1))
        stages.append(nn.Sequential(first, *rest))
    stem = conv_bn_relu(in_channels, STEM_WIDTH, 1)
    return staged(stem=stem, stages=stages, features=widths[-1], num_classes=num_classes)


def cifar_shufflenet_v2(*, width: float = 1.0, num_classes: int, in_channels: int = 3) -> nn.Module:
    """ShuffleNet V2 of size `width` (the paper's table 5); 1 in distillation tables.

    Raises:
        SettingError: width is not one of 0.5, 1, 1.5, 2, or in_channels is less than 1.
    """
    if width not in V2_WIDTHS:
        raise SettingError(f"width={width}: must be one of {', '.join(f'{w:g}' for w in V2_WIDTHS)}")
    check_positive(in_channels=in_channels)
    *widths, features = (STEM_WIDTH, *V2_WIDTHS[width])
    stages = []
    for before, after, count in zip(widths, widths[1:], V2_BLOCKS, strict=False):
        rest = (V2Block(after) for _ in range(count - 1))
        stages.append(nn.Sequential(V2DownBlock(before, after), *rest))
    return staged(
        stem=conv_bn_relu(in_channels, STEM_WIDTH, 1),
        stages=stages,
        neck=conv_bn_relu(widths[-1], features, 1),
        features=features,
        num_classes=num_classes,
    )


class ChannelShuffle(nn.Module):
    """Deal the channels of `groups` groups out like cards, so that each group of the next layer sees all of them."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape, channel g * C / groups + i going to i * groups + g."""
        n, c, h, w = x.shape
        return x.reshape(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class V1Block(nn.Module):
    """Grouped 1x1, shuffle, 3x3 by channel, grouped 1x1; added to the input, or beside it where the block halves."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, groups: int, first_groups: int) -> None:
        super().__init__()
        channels = out_channels - in_channels if stride == 2 else out_channels
        middle = channels // 4
        self.squeeze = conv_bn_relu(in_channels, middle, 1, groups=first_groups)
        self.shuffle = ChannelShuffle(first_groups)
        self.depthwise = conv_bn_relu(middle, middle, 3, stride=stride, groups=middle)
        conv = nn.Conv2d(middle, channels, 1, groups=groups, bias=False)
        self.expand = nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels)))
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None
        self.preact = nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        y: Tensor = self.expand(self.depthwise(self.shuffle(self.squeeze(x))))
        y = y + x if self.shortcut is None else torch.cat([y, self.shortcut(x)], dim=1)
        out: Tensor = self.relu(self.preact(y))
        return out


class V2Block(nn.Module):
    """One half of the channels passes as it is, the other through 1x1, 3x3 by channel and 1x1; then both are mixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _v2_branch(channels // 2, channels // 2, stride=1)
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        kept, changed = x.chunk(2, dim=1)
        out: Tensor = self.shuffle(torch.cat([kept, self.branch(changed)], dim=1))
        return out


class V2DownBlock(nn.Module):
    """Two branches see all channels and halve the resolution; each gives half of the output."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.shortcut = nn.Sequential(
            OrderedDict(
                depthwise=_depthwise(in_channels, stride=2),
                pointwise=conv_bn_relu(in_channels, half, 1),
            )
        )
        self.branch = _v2_branch(in_channels, half, stride=2)
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / 2, W / 2)."""
        out: Tensor = self.shuffle(torch.cat([self.shortcut(x), self.branch(x)], dim=1))
        return out


def _v2_branch(in_channels: int, channels: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            squeeze=conv_bn_relu(in_channels, channels, 1),
            depthwise=_depthwise(channels, stride=stride),
            expand=conv_bn_relu(channels, channels, 1),
        )
    )


def _depthwise(channels: int, *, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels)))
