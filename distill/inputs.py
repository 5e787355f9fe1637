"""What a network takes: one tensor, or several by the names of its arguments."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from distill.devices import to_device

Inputs = Tensor | Mapping[str, Tensor]
"""Images (N, C, H, W); or tensors (N, ...) by name, such as input_ids and attention_mask, both (N, T) int64."""


def first_tensor(inputs: Inputs) -> Tensor:
    """One of the tensors, for what they have in common: their device, and how many samples they hold."""
    return inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))


def map_tensors(function: Callable[[Tensor], Tensor], part: Any) -> Any:
    """What a function makes of each tensor in a tensor, a mapping or a sequence; anything else stays as it is."""
    if isinstance(part, Mapping):
        return {name: map_tensors(function, value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return type(part)(map_tensors(function, value) for value in part)
    return function(part) if isinstance(part, Tensor) else part


def inputs_to(inputs: Inputs, device: torch.device) -> Inputs:
    """The same on a device."""
    moved: Inputs = map_tensors(lambda tensor: to_device(tensor, device), inputs)
    return moved


def call(network: Callable[..., Any], inputs: Inputs) -> Any:
    """What a network says: one tensor is its only argument, several are arguments by their names."""
    return network(inputs) if isinstance(inputs, Tensor) else network(**inputs)
