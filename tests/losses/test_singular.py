"""Singular vectors against numpy's, and their gradients against those of the whole decomposition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.losses.singular import singular_vectors


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 6), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_against_numpy(channels: int, side: int, rank: int, scale: float, seed: int) -> None:
    x = draw(2, channels, side, side, seed=seed) * scale
    vectors, values = singular_vectors(x, rank)
    kept = min(rank, channels, side * side)
    assert vectors.shape == (2, channels, kept)
    for n in range(2):
        matrix = x[n].reshape(channels, -1).T.numpy()
        _, sigma, right = np.linalg.svd(matrix)
        np.testing.assert_allclose(values[n], sigma[:kept] / np.linalg.norm(sigma), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(np.abs(np.diag(right[:kept] @ vectors[n].numpy())), 1, atol=1e-6)


@pytest.mark.parametrize("side", [2, 4])
def test_gradients_are_those_of_the_decomposition(side: int) -> None:
    ours, reference = (draw(3, 5, side, side, seed=4).requires_grad_() for _ in range(2))
    other = draw(3, 5, seed=5)
    for k in range(3):
        vectors, _ = singular_vectors(ours, 3)
        _, _, right = torch.linalg.svd(reference.flatten(2).mT, full_matrices=False)
        gradients = [
            torch.autograd.grad((v * other).sum(1).square().sum(), x)[0]
            for v, x in ((vectors[:, :, k], ours), (right[:, k], reference))
        ]
        torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_stay_finite_where_singular_values_meet(dtype: torch.dtype) -> None:
    for x in (torch.zeros(1, 4, 2, 2), torch.ones(1, 4, 2, 2), torch.eye(4).view(1, 4, 2, 2)):
        leaf = x.to(dtype).requires_grad_()
        vectors, values = singular_vectors(leaf, 4)
        (vectors.sum() + values.sum()).backward()
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


def test_autocast_does_not_round_them() -> None:
    x = draw(2, 4, 3, 3).float()
    with torch.autocast("cpu", torch.bfloat16):
        vectors, values = singular_vectors(x, 2)
    exact = singular_vectors(x, 2)
    assert torch.equal(vectors, exact[0])
    assert torch.equal(values, exact[1])
