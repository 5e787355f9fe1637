"""A network's cost: parameters, floating-point operations, latency."""

import copy
import statistics
import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from distill.inputs import Inputs, first_tensor, map_tensors
from distill.models.modes import evaluating
from distill.types import Outputs


def parameters(network: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(parameter.numel() for parameter in network.parameters())


def flops(network: nn.Module, inputs: Inputs) -> int:
    """Floating-point operations for one sample: two for each multiply-add of convolutions and matrix
    products, which is what the counter of torch counts."""
    try:  # of shapes alone, which takes no time
        shapes = map_tensors(lambda tensor: tensor.to("meta"), inputs)
        return _counted(copy.deepcopy(network).to("meta"), shapes)
    except Exception:  # of a network that looks at numbers
        return _counted(copy.deepcopy(network), inputs)


@torch.no_grad()
def _counted(network: nn.Module, inputs: Inputs) -> int:
    with FlopCounterMode(display=False) as counter:
        _made(network.eval()(inputs))
    return int(counter.get_total_flops())


def _made(answer: Any) -> Any:
    """What a network said, with its logits, where they are not made yet."""
    return answer.made() if isinstance(answer, Outputs) else answer


def latency_ms(network: nn.Module, inputs: Inputs, runs: int = 30) -> float:
    """Median milliseconds for one sample in evaluation mode, on the device where it lies."""
    times, device = [], first_tensor(inputs).device
    with evaluating(network), torch.no_grad():
        for _ in range(runs + 5):
            start = time.perf_counter()
            _made(network(inputs))
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[5:])
