"""From the processor to a device, and back without asking the device."""

import gc

import pytest
import torch
from pretended_gpu import GPU, pretended_gpu

from distill import transfer
from distill.devices import STAGED, indices_on_processor, sent, sent_indices

CPU = torch.device("cpu")


def test_what_is_there_already_stays() -> None:
    indices = torch.arange(3)
    assert sent(indices, CPU) is indices
    assert sent_indices(indices, CPU) is indices
    assert indices_on_processor(indices) is indices


@pytest.mark.parametrize("count", [10, STAGED + 1])
def test_nobody_waits_for_a_gpu(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[int] = []
    with pretended_gpu(monkeypatch):
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(len(self)) or self)
        there = sent(torch.zeros(count, dtype=torch.uint8), GPU)
        assert there.device == GPU
        assert sent(there, GPU) is there
    assert pinned == ([count] if count > STAGED else [])  # CUDA sets little aside by itself


def test_the_processor_knows_the_indices_that_it_sent_and_forgets_them_with_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    indices, before = torch.tensor([3, 1, 2]), len(transfer._ON_PROCESSOR)
    with pretended_gpu(monkeypatch):
        there = sent_indices(indices, GPU)
        assert there.device == GPU
        assert indices_on_processor(there) is indices
        assert len(transfer._ON_PROCESSOR) == before + 1
        del there
        gc.collect()
    assert len(transfer._ON_PROCESSOR) == before
