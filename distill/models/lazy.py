"""Networks with lazy layers (torch.nn.LazyConv2d, LazyLinear, ...), which take their sizes from the first input."""

import torch
from torch import nn
from torch.nn.parameter import is_lazy as _is_lazy


def is_lazy(module: nn.Module) -> bool:
    """Whether some parameter or buffer has no shape yet."""
    return any(_is_lazy(value) for value in (*module.parameters(), *module.buffers()))


def initialise(backbone: nn.Module, shape: list[int]) -> nn.Module:
    """Show a network one image of this shape, (C, H, W), in evaluation mode; returns the network, in its own mode."""
    training = backbone.training
    with torch.no_grad():
        backbone.eval()(torch.zeros(1, *shape))
    return backbone.train(training)
