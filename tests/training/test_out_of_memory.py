"""Memory that runs out is one line with the settings that would help."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from distill.config.first_look import check
from distill.errors import SettingError
from distill.files import CONFIGS
from distill.training.out_of_memory import advice_where_memory_runs_out

OF_A_GPU = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 12.31 GiB is "
    "free. Including non-PyTorch memory, this process has 66.78 GiB memory in use."
)


def line_of(allocate: Callable[[], object], batch_size: int = 64, precision: str = "32-true") -> str:
    def train() -> None:
        with advice_where_memory_runs_out(batch_size, 2, precision):
            allocate()

    with pytest.raises(SettingError) as caught:
        train()
    return str(caught.value)


def raising(error: Exception) -> Callable[[], object]:
    def allocate() -> None:
        raise error

    return allocate


def test_a_gpu_tells_how_much_is_free() -> None:
    assert line_of(raising(torch.OutOfMemoryError(OF_A_GPU))) == (
        "data.batch_size=64: memory ran out (20.00 GiB asked for, 12.31 GiB of 79.10 GiB free); what takes less: "
        "data.batch_size=32 trainer.accumulate_grad_batches=4 (as many samples in each step), or "
        "trainer.precision=bf16-mixed, or a smaller network"
    )


@pytest.mark.parametrize(
    ("allocate", "asked"),
    [
        (lambda: torch.empty(10**15), "4000000000000000 bytes"),
        (lambda: np.empty(10**15), "7.11 PiB"),
    ],
)
def test_so_do_allocations_of_the_machine(allocate: Callable[[], object], asked: str) -> None:
    assert f"memory ran out ({asked} asked for); what" in line_of(allocate)


def test_what_is_done_already_is_not_advised() -> None:
    line = line_of(raising(MemoryError()), batch_size=1, precision="bf16-mixed")
    assert line == "data.batch_size=1: memory ran out; what takes less: a smaller network"


def test_the_advice_is_taken() -> None:
    settings = re.findall(r"[\w.]+=[\w-]+", line_of(raising(MemoryError()), batch_size=7))[1:]
    assert settings == ["data.batch_size=4", "trainer.accumulate_grad_batches=4", "trainer.precision=bf16-mixed"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        check(compose("train", overrides=settings))


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), advice_where_memory_runs_out(64, 1, "32-true"):
        raise RuntimeError("shapes do not fit")
