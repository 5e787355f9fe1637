"""Training and evaluation mode of a network and of its parts."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def start_training(*networks: nn.Module) -> None:
    """Put networks that arrive in evaluation mode, as loaded ones often do, into training mode.

    Parts whose parameters are all frozen stay in evaluation mode, and so do parts of a network that is in training mode
    already: they were put there on purpose.
    """
    for network in networks:
        if not network.training:
            frozen = [part for part in network.modules() if _is_frozen(part)]
            network.train()
            for part in frozen:
                part.eval()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode within the context; afterwards each part has the mode that it had."""
    modes = {part: part.training for part in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _is_frozen(part: nn.Module) -> bool:
    parameters = list(part.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
