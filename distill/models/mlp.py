"""A multilayer perceptron on the pixels."""

from collections import OrderedDict

from torch import nn

from distill.errors import SettingError
from distill.models.staged import check_positive


def mlp(*, num_classes: int, in_channels: int = 3, image_size: int, hidden: list[int]) -> nn.Module:
    """Hidden layers of the given widths, named layer1, layer2, ..., each linear and ReLU; then the head.

    image_size: side of the square images, in pixels.

    Raises:
        SettingError: hidden is empty, or a size is less than 1.
    """
    check_positive(num_classes=num_classes, in_channels=in_channels, image_size=image_size)
    if not hidden or min(hidden) < 1:
        raise SettingError(f"hidden={list(hidden)}: must be one or more widths of at least 1, such as [64, 32]")
    sizes = [in_channels * image_size**2, *hidden]
    parts: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Flatten())
    for i, (before, after) in enumerate(zip(sizes, hidden, strict=False), start=1):
        parts[f"layer{i}"] = nn.Sequential(OrderedDict(linear=nn.Linear(before, after), relu=nn.ReLU()))
    parts["head"] = nn.Linear(sizes[-1], num_classes)
    return nn.Sequential(parts)
