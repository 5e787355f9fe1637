"""Finds the last linear layer of a network, its classifier, and replaces it by a new one."""

from torch import nn

from distill.errors import SettingError
from distill.inputs import Inputs
from distill.models.layers import list_layers
from distill.models.network import Network
from distill.models.taps import classifier_path


def renew_head(network: Network, inputs: Inputs, num_classes: int) -> tuple[str, nn.Module]:
    """Return the path of a network's last layer, and one of random weights for `num_classes` in its place.

    Args:
        network: it stays as it is.
        inputs: prepared, shown to it once.

    Raises:
        SettingError: no last Linear or 1x1 Conv2d is found.
    """
    layers = list_layers(network.backbone, inputs)
    try:
        path = classifier_path(layers, network)
    except SettingError:  # what pools behind a convolution gives the answer
        path = next((layer.path for layer in reversed(layers) if layer.kind in ("Linear", "Conv2d")), "")
    head = resized(network.backbone.get_submodule(path), num_classes) if path else None
    if head is None:
        raise SettingError(f"head=new: {network.name} ends in no linear layer or 1x1 convolution to replace")
    return path, head


def with_head(backbone: nn.Module, layer: str, outputs: int) -> nn.Module:
    """The network with another last layer, of random weights: what `renew_head` led to, built again."""
    head = resized(backbone.get_submodule(layer), outputs)
    assert head is not None
    backbone.set_submodule(layer, head)
    return backbone


def resized(layer: nn.Module, outputs: int) -> nn.Module | None:
    """A layer of the same kind and inputs with random weights for so many outputs; None for layers of another kind."""
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, outputs, bias=layer.bias is not None)
    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
        return nn.Conv2d(layer.in_channels, outputs, 1, bias=layer.bias is not None)
    return None
