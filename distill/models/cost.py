"""A network's cost: parameters, floating-point operations, latency."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from distill.inputs import Inputs, map_tensors
from distill.models.modes import evaluating
from distill.types import Outputs

ROUNDS, WARMUP = 30, 3
LONGEST = 1.0  # seconds that a batch may take
ENOUGH = 5.0  # seconds of measurements


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


def weights_bytes(network: nn.Module) -> int:
    """Of parameters and buffers."""
    return sum(weight.nbytes for weight in network.state_dict().values() if isinstance(weight, Tensor))


@dataclass(frozen=True, slots=True)
class Spread:
    """Of repeated measurements: the middle one, and between which two the middle eight of ten lie."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one or more."""
        low, median, high = np.quantile(values, (0.1, 0.5, 0.9)).tolist()
        return cls(median, low, high)


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a network answers, in evaluation mode, in its own precision.

    latency_ms: for one sample. per_second: samples, in batches of so many, `batch_size`. threads: of the CPU.
    """

    latency_ms: Spread
    per_second: Spread
    batch_size: int
    threads: int

    def summary(self) -> dict[str, float]:
        """For summary.json."""
        return {
            "latency_ms_low": self.latency_ms.low,
            "latency_ms_high": self.latency_ms.high,
            "samples_per_second": self.per_second.median,
            "samples_per_second_low": self.per_second.low,
            "samples_per_second_high": self.per_second.high,
            "batch_size": self.batch_size,
            "threads": self.threads,
        }


def speeds(networks: Mapping[str, nn.Module], sample: Inputs, batch_size: int) -> dict[str, Speed]:
    """How fast each network answers on the device where the sample, (1, ...), lies.

    They take turns, so that what else the machine does meets all of them alike. A batch is smaller where the slowest
    network would take seconds for it.
    """
    with ExitStack() as modes:
        for network in networks.values():
            modes.enter_context(evaluating(network))
        alone = _in_turns(networks, sample, ROUNDS)
        slowest = max(Spread.of(times).median for times in alone.values())
        batch_size = max(1, min(batch_size, int(LONGEST / slowest)))
        together = _in_turns(networks, map_tensors(lambda part: torch.cat([part] * batch_size), sample), ROUNDS // 3)
    return {
        name: Speed(
            Spread.of([1000 * seconds for seconds in alone[name]]),
            Spread.of([batch_size / seconds for seconds in together[name]]),
            batch_size,
            torch.get_num_threads(),
        )
        for name in networks
    }


def latencies(programs: Mapping[str, Callable[[Tensor], Any]], sample: Tensor) -> dict[str, Spread]:
    """Milliseconds in which each program answers for a sample, (1, ...); they take turns."""
    times = _in_turns(programs, sample, ROUNDS)
    return {name: Spread.of([1000 * seconds for seconds in found]) for name, found in times.items()}


@torch.no_grad()
def _in_turns(programs: Mapping[str, Callable[[Any], Any]], inputs: Inputs, rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, after a few; fewer than so many rounds, but three, where they would take long."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    begun = time.perf_counter()
    for done in range(-WARMUP, rounds):
        if done >= 3 and time.perf_counter() - begun > ENOUGH:
            break
        for name, program in programs.items():
            start = time.perf_counter()
            _made(program(inputs))
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if done >= 0:
                times[name].append(time.perf_counter() - start)
    return times
