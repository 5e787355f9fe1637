"""The one shape of the networks built here: stem, layer1, layer2, ..., pool and head, in this order.

Nothing works in place, so that what a feature tap captures is what the layer said.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from distill.errors import SettingError


def staged(
    *, stem: nn.Module, stages: Sequence[nn.Module], features: int, num_classes: int, neck: nn.Module | None = None
) -> nn.Sequential:
    """String the parts of a classifier together under the common names.

    stem maps images (N, in_channels, H, W) to the first feature map, stages become layer1, layer2, ..., neck (left out
    where there is none) is what comes between the last stage and the pooling. `pool` gives (N, features), `head` the
    logits (N, num_classes).

    Raises:
        SettingError: num_classes is less than 1.
    """
    check_positive(num_classes=num_classes)
    parts: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
    parts.update((f"layer{i}", stage) for i, stage in enumerate(stages, start=1))
    if neck is not None:
        parts["neck"] = neck
    parts["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    parts["head"] = nn.Linear(features, num_classes)
    return nn.Sequential(parts)


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Sequential:
    """Return conv, bn and relu under these names; the convolution keeps the resolution, or divides it by stride."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(
                in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias
            ),
            bn=nn.BatchNorm2d(out_channels),
            relu=nn.ReLU(),
        )
    )


def initialise(network: nn.Module, *, head_std: float | None = None) -> None:
    """Draw convolutions from N(0, 2 / fan_out) (1502.01852), with zero bias; norms start at scale 1, shift 0.

    head_std: standard deviation of linear layers, whose bias is then zero; None keeps PyTorch's own.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear) and head_std is not None:
            nn.init.normal_(module.weight, std=head_std)
            nn.init.zeros_(module.bias)


def check_positive(**sizes: int) -> None:
    """Raise SettingError naming the first size that is less than 1."""
    for name, size in sizes.items():
        if size < 1:
            raise SettingError(f"{name}={size}: must be at least 1")
