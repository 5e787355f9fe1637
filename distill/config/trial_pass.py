"""A forward pass of a few images of the data, by which a network shows whether it takes them."""

import torch
from torch import Tensor, nn

from distill.data.augment.color import to_float
from distill.data.source import ImageSource
from distill.errors import SettingError, first_line
from distill.models.modes import evaluating
from distill.models.network import Network
from distill.types import Outputs


def first_images(source: ImageSource) -> Tensor:
    """The first two training images, (2, C, H, W) float in [0, 1]; one, where there is one."""
    return to_float(source.train.show(torch.arange(min(2, len(source.train)))))


def show_images(network: Network, where: str, source: ImageSource) -> Outputs:
    """What a network says of two images of the data.

    Raises:
        SettingError: it cannot take them.
    """
    images = first_images(source)
    try:
        with evaluating(network), torch.no_grad():
            outputs: Outputs = network(images)
    except Exception as error:  # whatever a user's network raises
        raise SettingError(
            f"{where}: {network.name} cannot take images of {tuple(images.shape[1:])}: {first_line(error)}"
            f"{_advice(network, where, images)}"
        ) from error
    return outputs


def _advice(network: Network, where: str, images: Tensor) -> str:
    """The setting that may help a network that fails, if there is one."""
    first = next((module for module in network.backbone.modules() if isinstance(module, nn.Conv2d)), None)
    channels = images.shape[1] if network.preprocess.channels is None else network.preprocess.channels
    if first is not None and first.in_channels * first.groups != channels and {first.in_channels, channels} == {1, 3}:
        kinds = {1: "grey", 3: "RGB"}
        return f"; {where}.channels={first.in_channels} shows it images as {kinds[first.in_channels]}"
    at = "as they are" if network.preprocess.size is None else f"at {where}.size={network.preprocess.size}"
    return f"; it gets them {at}: try another {where}.size (HYDRA_FULL_ERROR=1 shows where it fails)"
