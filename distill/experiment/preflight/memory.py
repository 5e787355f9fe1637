"""The memory that a run will take."""

import math

import torch

from distill.experiment.preflight.findings import Findings
from distill.experiment.preflight.resident import most_resident
from distill.experiment.preflight.step import Memory
from distill.experiment.run import Run


def say_memory(
    run: Run, stages: dict[str, Memory], device: torch.device, resident_before: int, findings: Findings
) -> None:
    """Say what the stage that needs most takes: of a GPU's memory, or beside all else of the process's on a CPU."""
    name, most = max(stages.items(), key=lambda item: item[1].total)
    parts = {part: getattr(most, part) for part in Memory.__dataclass_fields__}
    if device.type == "cpu":
        del parts["weights"], parts["images"]  # the process has read them
        parts = {"process with data and networks": resident_before, **parts}
    total = sum(parts.values())
    if device.type == "cpu":
        total = max(total, most_resident())
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    beside = "" if free is None else f", {_size(free)} are free"
    account = ", ".join(f"{part} {_size(size)}" for part, size in parts.items())
    findings.say("memory", f"about {_size(total)} to train the {name} ({account}){beside}")
    if free is not None and total > free:
        findings.warnings.append(
            f"training the {name} needs about {_size(total)} and {device} has {_size(free)} free: lower "
            f"data.batch_size={run.config.data.own.batch_size}, or use trainer.precision=bf16-mixed"
        )


def _size(count: float) -> str:
    """Bytes in binary units: '12.3 MiB'."""
    power = min(3, int(math.log2(max(count, 1)) / 10))
    return f"{count / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"
