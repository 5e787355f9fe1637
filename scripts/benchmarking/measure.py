"""How time and memory are measured, and what is said of the machine."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

Work = Callable[[], object]


TURN = 0.02  # seconds


def interleaved(ways: dict[str, Work], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each way in each round. All take turns, so that a busy moment of the machine meets every one.

    A turn is one call after another that isn't counted, or as many as fill 20 ms: work that is repeated finds caches
    and heap as it left them itself, not as another way did.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    calls = {name: max(1, int(TURN / max(_seconds(work, 1, device) for _ in range(2)))) for name, work in ways.items()}
    for _ in range(rounds):
        for name, work in ways.items():
            work()
            seconds[name].append(_seconds(work, calls[name], device))
    return seconds


def _seconds(work: Work, calls: int, device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    _wait(device)
    return (time.perf_counter() - start) / calls


def ratio(seconds: list[float], reference: list[float]) -> float:
    """The median over rounds of the ratio to the reference in the same round."""
    return statistics.median(a / b for a, b in zip(seconds, reference, strict=True))


def peak_bytes(work: Work, forget: Work, device: torch.device) -> int:
    """The most memory that was allocated at once beyond what was before, gradients included.

    forget: drops what an earlier call of work left behind, its gradients, which would otherwise count as before.
    On a GPU the allocator counts it. On a CPU every call of the allocator is recorded, those inside operators too, and
    replayed: exact where the peak of the process would hide small buffers behind what the heap keeps.
    """
    work()
    forget()
    if device.type == "cuda":
        _wait(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        _wait(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def machine(device: torch.device) -> dict[str, str | int]:
    """What the figures were taken on; nothing that identifies a host."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    found: dict[str, str | int] = {"cpu": name, "cores": os.cpu_count() or 0, "threads": torch.get_num_threads()}
    found["load"] = f"{os.getloadavg()[0]:.1f}"  # well above `threads`: other work was in the way
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return {**found, "torch": torch.__version__, "python": platform.python_version()}


def available_bytes(device: torch.device) -> int:
    """Memory that may be taken without swapping."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    info = Path("/proc/meminfo")
    if not info.exists():
        return 8 << 30
    lines = (line.split() for line in info.read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of copying a tensor too large for the caches."""
    source = torch.empty((1 << 30 if device.type == "cuda" else 1 << 26), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = interleaved({"copy": lambda: target.copy_(source)}, 10, device)["copy"]
    return 2 * source.numel() / statistics.median(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
