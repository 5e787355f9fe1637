"""What a model predicts of many GPUs: `python scripts/scale_model.py` writes docs/scale.md, by these assumptions."""

import json
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scale.md"
MEASURED = ROOT / "benchmarks" / "scale-cpu.json"

NVLINK, ETHERNET = 300e9, 50e9  # bytes/s of all-reduce within a machine, and between two for each machine
GPU = 150e12  # FLOP/s that training keeps up in half precision
LATENCY = 30e-6  # s, of each all-reduce of a bucket
BUCKET = 25e6  # bytes; the default of data-parallel training
OVERLAP = 0.8  # share of the backward pass beside which gradients travel


@dataclass(frozen=True, slots=True)
class Case:
    """parameters: of the student. student, teacher: FLOPs of a forward pass for a sample. batch: samples of a GPU.
    cached: bytes that a cache keeps of an answer."""

    name: str
    parameters: float
    student: float
    teacher: float
    batch: int
    cached: int


CASES = (
    Case("resnet34 to resnet18, 224 pixels", 11.7e6, 3.6e9, 7.3e9, 256, 2 * 1000),
    Case("resnet56 to resnet20, 32 pixels", 0.28e6, 82e6, 252e6, 256, 2 * 100),
    Case("a language model of 7e9 to one of 1e9, 2048 tokens", 1e9, 4e12, 29e12, 4, 2048 * 64 * 6),
)


def rows(case: Case, nodes: int, gpus: int) -> tuple[float, float, float, float]:
    """Seconds of a step's arithmetic live, and cached; seconds of its all-reduce; efficiency with a live teacher."""
    student = 3 * case.student * case.batch / GPU
    live = student + case.teacher * case.batch / GPU
    size = 4 * case.parameters
    processes = nodes * gpus
    moved = 2 * size * (processes - 1) / processes
    bandwidth = NVLINK if nodes == 1 else min(NVLINK, ETHERNET)
    reduce = moved / bandwidth + LATENCY * max(1.0, size / BUCKET)
    exposed = max(0.0, reduce - OVERLAP * 2 / 3 * student)
    return live, student, reduce, live / (live + exposed)


def page() -> str:
    """The page."""
    lines = [
        "# Scale",
        "",
        "Written by `python scripts/scale_model.py`; a test checks that it is current.",
        "",
        "## Measured",
        "",
    ]
    if MEASURED.is_file():
        found = json.loads(MEASURED.read_text())
        lines += [*found["notes"], "", "Machine: " + ", ".join(f"{k} {v}" for k, v in found["machine"].items()) + "."]
        lines += ["", "| | images/s | times one |", "|---|---:|---:|"]
        lines += [f"| {row['way']} | {row['images/s']:.0f} | {row['times one']:.2f} |" for row in found["rows"]]
        lines += [""]
    lines += [
        "`python scripts/benchmark.py scale` measures processes on a CPU; the machine must have nothing else to",
        "do. No figure of it is kept here yet, and nothing was measured on GPUs, or on several machines."
        if not MEASURED.is_file()
        else "do. Nothing was measured on GPUs, or on several machines.",
        "",
    ]
    lines += [
        "## Predicted, not measured",
        "",
        f"Assumptions: {GPU / 1e12:.0f} TFLOP/s of each GPU; a training step is three forward passes of the student",
        "and one of the teacher; gradients are float32, summed by a ring at",
        f"{NVLINK / 1e9:.0f} GB/s within a machine and {ETHERNET / 1e9:.0f} GB/s between machines, "
        f"{LATENCY * 1e6:.0f} us for each bucket of {BUCKET / 1e6:.0f} MB;",
        f"{OVERLAP:.0%} of the backward pass hides them. Efficiency is the share of the step that is arithmetic.",
        "Reading data and stragglers are left out.",
        "",
        "| what | GPUs | gradients | all-reduce | step, live teacher | step, cached | efficiency | cache reads |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for case in CASES:
        for nodes, gpus in ((1, 8), (64, 8)):
            live, cached, reduce, efficiency = rows(case, nodes, gpus)
            reads = nodes * gpus * case.batch * case.cached / cached
            lines.append(
                f"| {case.name} | {nodes} x {gpus} | {4 * case.parameters / 1e6:,.1f} MB | {1e3 * reduce:.2f} ms "
                f"| {1e3 * live:.1f} ms | {1e3 * cached:.1f} ms | {efficiency:.0%} | {reads / 1e6:,.0f} MB/s |"
            )
    lines += [
        "",
        "The teacher is no part of what processes send each other, so it makes a step longer and scaling easier. With",
        "cached answers the step is the student's alone: the gradients must then hide behind less, and the reads of",
        "all processes together are the last column.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
