"""What the tests of methods share: reference numbers, and a batch to try methods on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.types import Batch, Outputs

GOLDEN = Path(__file__).parents[1] / "golden" / "losses.npz"


@pytest.fixture(scope="session")
def golden() -> dict[str, Tensor]:
    """Inputs (`in/...`) and values that published code gives for them (`out/...`), in float64."""
    with np.load(GOLDEN) as arrays:
        return {name: torch.as_tensor(arrays[name]) for name in arrays.files}


@pytest.fixture
def student(golden: dict[str, Tensor]) -> Outputs:
    return Outputs(golden["in/student_logits"].clone(), {"embedding": golden["in/student_embedding"].clone()})


@pytest.fixture
def teacher(golden: dict[str, Tensor]) -> Outputs:
    return Outputs(golden["in/teacher_logits"].clone(), {"embedding": golden["in/teacher_embedding"].clone()})


@pytest.fixture
def batch(golden: dict[str, Tensor]) -> Batch:
    targets = golden["in/target"]
    return Batch(torch.zeros(len(targets), 1, 2, 2), targets, torch.arange(len(targets)))
