"""From the CPU to a device, and back without asking the device."""

import gc

import pytest
import torch
from pretended_gpu import GPU, pretended_gpu

from distill import devices
from distill.devices import STAGED, indices_on_cpu, indices_to_device, to_device

CPU = torch.device("cpu")


def test_what_is_there_already_stays() -> None:
    indices = torch.arange(3)
    assert to_device(indices, CPU) is indices
    assert indices_to_device(indices, CPU) is indices
    assert indices_on_cpu(indices) is indices


@pytest.mark.parametrize("count", [10, STAGED + 1])
def test_nobody_waits_for_a_gpu(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[int] = []
    with pretended_gpu(monkeypatch):
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(len(self)) or self)
        there = to_device(torch.zeros(count, dtype=torch.uint8), GPU)
        assert there.device == GPU
        assert to_device(there, GPU) is there
    assert pinned == ([count] if count > STAGED else [])  # CUDA sets little aside by itself


def test_the_processor_knows_the_indices_that_it_sent_and_forgets_them_with_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    indices, before = torch.tensor([3, 1, 2]), len(devices._ON_CPU)
    with pretended_gpu(monkeypatch):
        there = indices_to_device(indices, GPU)
        assert there.device == GPU
        assert indices_on_cpu(there) is indices
        assert len(devices._ON_CPU) == before + 1
        del there
        gc.collect()
    assert len(devices._ON_CPU) == before
