"""A forward pass of a few samples of the data, by which a network shows whether it takes them."""

import torch
from torch import Tensor, nn

from distill.data.source import Source
from distill.errors import SettingError, first_line
from distill.inputs import Inputs
from distill.models.modes import evaluating
from distill.models.network import Network
from distill.types import Outputs


def first_inputs(source: Source) -> Inputs:
    """The first two training samples as a network takes them; one, where there is one."""
    return source.train.inputs(torch.arange(min(2, len(source.train))))


def show_samples(network: Network, where: str, source: Source) -> Outputs:
    """What a network says of two samples of the data.

    Raises:
        SettingError: it cannot take them.
    """
    inputs = first_inputs(source)
    try:
        with evaluating(network), torch.no_grad():
            outputs: Outputs = network(inputs)
    except Exception as error:  # whatever a user's network raises
        advice = _advice(network, where, inputs) if isinstance(inputs, Tensor) else " (HYDRA_FULL_ERROR=1 shows where)"
        raise SettingError(
            f"{where}: {network.name} cannot take {source.noun} of {_shapes(inputs)}: {first_line(error)}{advice}"
        ) from error
    return outputs


def _shapes(inputs: Inputs) -> str:
    """Of one sample: '(3, 32, 32)', 'input_ids (64,) and attention_mask (64,)'."""
    if isinstance(inputs, Tensor):
        return str(tuple(inputs.shape[1:]))
    return " and ".join(f"{name} {tuple(tensor.shape[1:])}" for name, tensor in inputs.items())


def _advice(network: Network, where: str, images: Tensor) -> str:
    """The setting that may help a network that fails, if there is one."""
    first = next((module for module in network.backbone.modules() if isinstance(module, nn.Conv2d)), None)
    channels = images.shape[1] if network.preprocess.channels is None else network.preprocess.channels
    if first is not None and first.in_channels * first.groups != channels and {first.in_channels, channels} == {1, 3}:
        kinds = {1: "grey", 3: "RGB"}
        return f"; {where}.channels={first.in_channels} shows it images as {kinds[first.in_channels]}"
    at = "as they are" if network.preprocess.size is None else f"at {where}.size={network.preprocess.size}"
    return f"; it gets them {at}: try another {where}.size (HYDRA_FULL_ERROR=1 shows where it fails)"
