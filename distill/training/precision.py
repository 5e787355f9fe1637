"""`trainer.precision=auto`: the fastest arithmetic that the hardware does natively."""

from pathlib import Path

import torch

# Not bf16-true and 16-true: weights in half precision have too few digits for the small steps of training.
PRECISIONS = ("auto", "bf16-mixed", "16-mixed", "32-true", "64-true")
OTHER_NAMES = ("bf16", "16", "32", "64")  # Lightning's


def choose_precision(device: torch.device) -> tuple[str, str]:
    """Lightning's name of a precision for a device, and the reason, told from what the hardware can do."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16-mixed", "this GPU computes bfloat16 natively"
        if torch.cuda.get_device_capability(device) >= (7, 0):
            return "16-mixed", "this GPU has tensor cores for float16 and none for bfloat16"
        return "32-true", "this GPU has no tensor cores"
    if device.type == "cpu":
        feature = native_bfloat16()
        if feature is not None:
            return "bf16-mixed", f"this CPU computes bfloat16 natively ({feature})"
        return "32-true", "this CPU has no bfloat16 arithmetic of its own"
    return "32-true", f"mixed precision is not used on {device.type}"


def native_bfloat16() -> str | None:
    """The CPU's feature that multiplies bfloat16, or None. Emulated arithmetic doesn't count."""
    if getattr(torch.cpu, "_is_amx_tile_supported", bool)():
        return "AMX"
    if getattr(torch.cpu, "_is_avx512_bf16_supported", bool)():
        return "AVX512_BF16"
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    arm = any(line.startswith("Features") and "bf16" in line.split() for line in lines)
    return "BF16" if arm else None
