"""Seeds for stages and epochs: pure functions of the run's seed, so that no stage depends on the one before it."""

import hashlib

import torch


def derive_seed(seed: int, *parts: str | int) -> int:
    """A 32-bit seed that depends on the run's seed and on every part, and on nothing else."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def seed_torch(seed: int, *parts: str | int) -> None:
    """Seed torch's generators on every device for what comes next: a stage's initialisation, an epoch's dropout."""
    torch.manual_seed(derive_seed(seed, *parts))
