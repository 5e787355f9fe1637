"""A network's cost: parameters, floating-point operations, latency."""

import copy
import statistics
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from distill.models.modes import evaluating


def parameters(network: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(parameter.numel() for parameter in network.parameters())


def flops(network: nn.Module, image: Tensor | Mapping[str, Tensor]) -> int:
    """Floating-point operations for one (1, C, H, W) image: two for each multiply-add of convolutions and matrix
    products, which is what the counter of torch counts."""
    try:  # of shapes alone, which takes no time
        shapes = image.to("meta") if isinstance(image, Tensor) else {name: x.to("meta") for name, x in image.items()}
        return _counted(copy.deepcopy(network).to("meta"), shapes)
    except Exception:  # of a network that looks at numbers
        return _counted(copy.deepcopy(network), image)


@torch.no_grad()
def _counted(network: nn.Module, image: Tensor | Mapping[str, Tensor]) -> int:
    with FlopCounterMode(display=False) as counter:
        network.eval()(image)
    return int(counter.get_total_flops())


def latency_ms(network: nn.Module, image: Tensor, runs: int = 30) -> float:
    """Median milliseconds for one (1, C, H, W) image in evaluation mode, on the device where it lies."""
    times = []
    with evaluating(network), torch.no_grad():
        for _ in range(runs + 5):
            start = time.perf_counter()
            network(image)
            if image.is_cuda:
                torch.cuda.synchronize(image.device)
            times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[5:])
