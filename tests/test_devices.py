"""From the CPU to a device without waiting."""

import pytest
import torch
from pretended_gpu import GPU, pretended_gpu

from distill.devices import STAGED, to_device

CPU = torch.device("cpu")


def test_what_is_there_already_stays() -> None:
    indices = torch.arange(3)
    assert to_device(indices, CPU) is indices


@pytest.mark.parametrize("count", [10, STAGED + 1])
def test_nobody_waits_for_a_gpu(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[int] = []
    with pretended_gpu(monkeypatch):
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(len(self)) or self)
        there = to_device(torch.zeros(count, dtype=torch.uint8), GPU)
        assert there.device == GPU
        assert to_device(there, GPU) is there
    assert pinned == ([count] if count > STAGED else [])  # CUDA sets little aside by itself
