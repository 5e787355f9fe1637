"""The k largest logits and the tails at chosen temperatures, against all logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.losses import SparseTeacher, kl_divergence
from distill.losses.top_k import TopK

TEMPERATURES = (0.5, 1.0, 4.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from(TEMPERATURES))
def test_is_the_sparse_teacher_of_all_logits(seed: int, k: int, temperature: float) -> None:
    logits = torch.randn(5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 5
    found = TopK.from_logits(logits, k, TEMPERATURES).at(temperature)
    wanted = SparseTeacher.from_logits(logits, k, temperature=temperature, dtype=torch.float64)
    assert torch.equal(found.indices, wanted.indices)
    assert torch.allclose(found.values.double(), wanted.values, atol=1e-5)
    assert torch.allclose(found.log_tail.double().exp(), wanted.log_tail.exp(), atol=1e-6)


def test_all_classes_kept_give_the_dense_loss_and_gradient() -> None:
    teacher, student = torch.randn(8, 10), torch.randn(8, 10, requires_grad=True)
    again = student.detach().clone().requires_grad_()
    dense = kl_divergence(student, teacher, temperature=4.0)
    sparse = kl_divergence(again, TopK.from_logits(teacher, 10, TEMPERATURES).at(4.0), temperature=4.0)
    dense.backward()
    sparse.backward()
    assert torch.allclose(dense, sparse, rtol=1e-5)
    assert torch.allclose(student.grad, again.grad, atol=1e-6)


def test_says_which_temperatures_there_are() -> None:
    with pytest.raises(ValueError, match=r"temperature=3: .* known at 0.5, 1, 4 only"):
        TopK.from_logits(torch.randn(2, 5), 2, TEMPERATURES).at(3.0)


@pytest.mark.parametrize("k", [0, 6])
def test_says_how_many_classes_there_are(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k={k}: must be from 1 to the number of classes, 5"):
        TopK.from_logits(torch.randn(2, 5), k, TEMPERATURES)
