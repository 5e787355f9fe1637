"""Seeds for stages and epochs: pure functions of the run's seed, so that no stage depends on the one before it."""

import hashlib
import random
from typing import Any

import numpy as np
import torch


def derive_seed(seed: int, *parts: str | int) -> int:
    """A 32-bit seed that depends on the run's seed and on every part, and on nothing else."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def seed_torch(seed: int, *parts: str | int) -> None:
    """Seed torch's generators on every device for what comes next: a stage's initialisation, an epoch's dropout."""
    torch.manual_seed(derive_seed(seed, *parts))


def generator_states(device: torch.device) -> dict[str, Any]:
    """Where the global generators stand, of torch (also on `device`), numpy and Python: plain values and tensors."""
    of_numpy: dict[str, Any] = np.random.get_state(legacy=False)
    inner = {**of_numpy["state"], "key": of_numpy["state"]["key"].tolist()}
    states = {"torch": torch.get_rng_state(), "numpy": {**of_numpy, "state": inner}, "python": random.getstate()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device.type).get_rng_state()
    return states


def set_generator_states(states: dict[str, Any] | None, device: torch.device) -> None:
    """Put the global generators where `generator_states` found them; None leaves them where they are."""
    if states is None:
        return
    torch.set_rng_state(states["torch"].cpu())
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])
    if device.type in states:
        torch.get_device_module(device.type).set_rng_state(states[device.type].cpu())
