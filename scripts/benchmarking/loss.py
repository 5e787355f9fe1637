"""Forward and backward of divergences: this package, plain PyTorch, torch.compile of it, liger-kernel on a GPU."""

import argparse
import importlib
import importlib.util
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarking.measure import (
    TURN,
    Work,
    available_bytes,
    copy_bandwidth,
    interleaved,
    machine,
    peak_bytes,
    ratio,
)
from benchmarking.report import Cell, Report
from distill.losses import kl_divergence, linear_divergence
from distill.losses.engine import CPU_CHUNK

T = 4.0
SIZES = "128x100,1024x1000,2048x32000,4096x128256,2048x576x32000"
REFERENCE = "eager, log target"
Loss = Callable[[Tensor, Tensor], Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark.py loss`."""
    parser.add_argument(
        "--sizes",
        default=SIZES,
        help="rows x classes, or rows x width x classes, between commas",
    )
    parser.add_argument("--dtype", default=None, help="of the logits; float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=20.0, help="to spend on each size, about")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder for loss-DEVICE.json and .md")


def run(options: argparse.Namespace) -> None:
    """Measure, print, write."""
    device = torch.device(options.device)
    dtype = getattr(torch, options.dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    bandwidth = copy_bandwidth(device) if device.type == "cuda" else None
    rows: list[dict[str, Cell]] = []
    notes = [
        f"Forward and backward of T^2 KL at T = {T:g}, {str(dtype)[6:]} logits, gradient for the student.",
        f"Ratios are medians over rounds in which all ways take turns of 20 ms or one call; 1 is {REFERENCE}.",
        "Bytes a logit: the most memory in use at once beyond the inputs, gradient included, over rows x classes.",
        f"On a CPU distill keeps {3 * 4 * CPU_CHUNK >> 20} MB a thread from call to call besides, whatever the size.",
    ]
    for size in options.sizes.split(","):
        n, *width, v = (int(x) for x in size.split("x"))
        needed = 10 * n * v * max(4, dtype.itemsize)
        if needed > available_bytes(device):
            notes.append(f"{n} x {v} left out: plain PyTorch would need about {needed / 2**30:.0f} GiB.")
            continue
        if width:
            rows += hidden_rows(n, width[0], v, device, options.seconds)
        else:
            rows += dense_rows(n, v, dtype, device, options.seconds, bandwidth)
    report = Report("Divergences: time and memory", notes, machine(device), rows)
    report.show()
    report.write(options.out, f"loss-{device.type}")


def dense_rows(
    n: int, v: int, dtype: torch.dtype, device: torch.device, seconds: float, bandwidth: float | None
) -> list[dict[str, Cell]]:
    """All ways at one size."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    student, teacher = (torch.randn(n, v, device=device).to(dtype) for _ in range(2))
    student.requires_grad_()

    def forget() -> None:
        student.grad = None

    def step(loss: Loss) -> Work:
        def work() -> None:
            forget()
            loss(student, teacher).backward()

        return work

    ways = {name: step(loss) for name, loss in dense_ways(device).items()}
    return measured(f"{n} x {v}", ways, forget, n * v, device, seconds, bandwidth, dtype.itemsize * 5)


def dense_ways(device: torch.device) -> dict[str, Loss]:
    """Functions of (student, teacher) by name; the reference first."""

    def eager_log(s: Tensor, t: Tensor) -> Tensor:
        target = F.log_softmax(t / T, -1)
        return F.kl_div(F.log_softmax(s / T, -1), target, log_target=True, reduction="batchmean") * T**2

    def eager(s: Tensor, t: Tensor) -> Tensor:
        return F.kl_div(F.log_softmax(s / T, -1), F.softmax(t / T, -1), reduction="batchmean") * T**2

    ways: dict[str, Loss] = {
        REFERENCE: eager_log,
        "eager, softmax target": eager,
        "torch.compile, log target": torch.compile(eager_log, dynamic=False),
        "torch.compile, softmax target": torch.compile(eager, dynamic=False),
        "distill": lambda s, t: kl_divergence(s, t, temperature=T),
    }
    if device.type == "cuda" and importlib.util.find_spec("liger_kernel"):
        liger = importlib.import_module("liger_kernel.transformers").LigerKLDIVLoss(
            reduction="batchmean", log_target=True
        )
        ways["liger-kernel"] = lambda s, t: liger(F.log_softmax(s / T, -1), F.log_softmax(t / T, -1)) * T**2
    return ways


def hidden_rows(n: int, width: int, v: int, device: torch.device, seconds: float) -> list[dict[str, Cell]]:
    """Hidden states and an output layer in float32 to divergence, with and without the logits in between."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(n, width, device=device), torch.randn(v, width, device=device) * width**-0.5
    teacher = torch.randn(n, v, device=device)
    hidden.requires_grad_()
    weight.requires_grad_()

    def materialised() -> Tensor:
        target = F.log_softmax(teacher / T, -1)
        soft = F.log_softmax(F.linear(hidden, weight) / T, -1)
        return F.kl_div(soft, target, log_target=True, reduction="batchmean") * T**2

    def forget() -> None:
        hidden.grad = weight.grad = None

    def step(loss: Callable[[], Tensor]) -> Work:
        def work() -> None:
            forget()
            loss().backward()

        return work

    ways = {
        REFERENCE: step(materialised),
        "distill": step(lambda: linear_divergence(hidden, weight, teacher, temperature=T)),
    }
    return measured(f"{n} x {width} -> {v}", ways, forget, n * v, device, seconds, None, 0)


def measured(
    size: str,
    ways: dict[str, Work],
    forget: Work,
    logits: int,
    device: torch.device,
    seconds: float,
    bandwidth: float | None,
    floor: int,
) -> list[dict[str, Cell]]:
    """One row a way. floor: the bytes a logit that streaming cannot go below, for the share of the bandwidth."""
    memory = {name: peak_bytes(work, forget, device) for name, work in ways.items()}
    once = sum(max(t[0], TURN) for t in interleaved(ways, 1, device).values())
    times = interleaved(ways, max(3, min(100, int(seconds / once))), device)
    rows: list[dict[str, Cell]] = []
    for name in ways:
        median = statistics.median(times[name])
        row: dict[str, Cell] = {
            "size": size,
            "way": name,
            "ms": median * 1e3,
            "time ratio": ratio(times[name], times[REFERENCE]),
            "bytes a logit": memory[name] / logits,
            "memory ratio": memory[name] / memory[REFERENCE],
        }
        if bandwidth is not None:
            row["share of floor"] = floor * logits / bandwidth / median if floor else None
        rows.append(row)
    return rows
