"""Wide residual networks (Zagoruyko and Komodakis, 1605.07146) for 32x32 images: WRN-depth-width."""

from collections import OrderedDict

from torch import Tensor, nn

from distill.errors import SettingError
from distill.models.staged import check_positive, initialise, staged


def wide_resnet(*, depth: int, width: int, dropout: float = 0.0, num_classes: int, in_channels: int = 3) -> nn.Module:
    """WRN-`depth`-`width`: three stages of (16, 32, 64) x width channels, normalised before each convolution.

    dropout is the share of activations dropped between the two convolutions of a block.

    Raises:
        SettingError: depth is not 6n + 4, dropout is outside [0, 1), or a size is less than 1.
    """
    if depth < 10 or (depth - 4) % 6:
        raise SettingError(f"depth={depth}: must be 6n + 4, such as 10, 16, 22, 28 or 40")
    if not 0 <= dropout < 1:
        raise SettingError(f"dropout={dropout}: must be at least 0 and less than 1")
    check_positive(width=width, in_channels=in_channels)
    blocks, widths = (depth - 4) // 6, [16 * width, 32 * width, 64 * width]
    inputs, stages = [16, *widths], []
    for i, channels in enumerate(widths):
        first = PreactBlock(inputs[i], channels, stride=1 if i == 0 else 2, dropout=dropout)
        rest = (PreactBlock(channels, channels, dropout=dropout) for _ in range(blocks - 1))
        stages.append(nn.Sequential(first, *rest))
    network = staged(
        stem=nn.Conv2d(in_channels, 16, 3, padding=1, bias=False),
        stages=stages,
        neck=nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(widths[-1]), relu=nn.ReLU())),
        features=widths[-1],
        num_classes=num_classes,
    )
    initialise(network)
    nn.init.zeros_(network.get_parameter("head.bias"))
    return network


class PreactBlock(nn.Module):
    """BN-ReLU-conv twice; where the channels change, the shortcut is a 1x1 convolution of the normalised input."""

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False) if in_channels != channels else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        y: Tensor = self.relu1(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        out: Tensor = shortcut + self.conv2(self.dropout(self.relu2(self.bn2(self.conv1(y)))))
        return out
