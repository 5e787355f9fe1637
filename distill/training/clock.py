"""Times on a device: the CPU's clock, or CUDA events."""

import time

import torch

Moment = float | torch.cuda.Event


def moment(device: torch.device) -> Moment:
    """When all is done that was asked of the device so far: on a GPU by its own clock, and nobody waits for it."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(before: Moment, after: Moment) -> float:
    """Of two moments of the same device. Waits for the second."""
    if isinstance(before, float) or isinstance(after, float):
        assert isinstance(before, float)
        assert isinstance(after, float)
        return after - before
    after.synchronize()
    return float(before.elapsed_time(after)) / 1000
