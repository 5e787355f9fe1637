"""What feature methods share."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from distill.methods.projection import as_map, matched, projector, shrunk, through


@pytest.mark.parametrize(("extra", "side"), [(0, 3), (1, 3), (5, 14), (1, 1), (0, 1)])
def test_tokens_become_their_grid(extra: int, side: int) -> None:
    tokens = torch.arange(2 * (extra + side * side) * 4.0).reshape(2, -1, 4)
    grid = as_map(tokens, "layer")
    assert grid.shape == (2, 4, side, side)
    for y in range(side):
        for x in range(side):
            assert torch.equal(grid[:, :, y, x], tokens[:, extra + y * side + x])


def test_maps_stay_and_embeddings_have_one_position() -> None:
    feature = torch.randn(2, 3, 4, 5)
    assert as_map(feature, "layer") is feature
    assert as_map(torch.randn(2, 3), "layer").shape == (2, 3, 1, 1)


@pytest.mark.parametrize("shape", [(2,), (2, 3, 4, 5, 6), (2, 60, 8), (2, 0, 8)])
def test_anything_else_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"AT: student_layers: 'blocks\.3' has shape \(2"):
        as_map(torch.zeros(shape), "AT: student_layers: 'blocks.3'")


@settings(max_examples=30, deadline=None)
@given(*(st.integers(1, 9) for _ in range(4)))
def test_the_larger_is_averaged_down(h1: int, w1: int, h2: int, w2: int) -> None:
    first, second = torch.randn(2, 3, h1, w1), torch.randn(2, 4, h2, w2)
    size = min(h1, h2), min(w1, w2)
    a, b = matched(first, second)
    assert a.shape == (2, 3, *size)
    assert b.shape == (2, 4, *size)
    if h1 % size[0] == 0 and w1 % size[1] == 0:
        blocks = first.reshape(2, 3, size[0], h1 // size[0], size[1], w1 // size[1]).mean((3, 5))
        torch.testing.assert_close(a, blocks)


def test_nothing_is_enlarged() -> None:
    feature = torch.randn(1, 1, 4, 4)
    assert shrunk(feature, 8, 4) is feature
    assert shrunk(feature, 8, 2).shape == (1, 1, 4, 2)


def test_equal_channels_need_no_projection() -> None:
    one, other = torch.randn(1, 3, 2, 2), torch.randn(1, 5, 2, 2)
    assert isinstance(projector(one, one), nn.Identity)
    assert through(projector(one, other), one).shape == other.shape


@pytest.mark.parametrize("module_dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_module_sees_its_own_dtype(module_dtype: torch.dtype, dtype: torch.dtype) -> None:
    answer = through(nn.Conv2d(3, 2, 1).to(module_dtype), torch.ones(1, 3, 2, 2, dtype=dtype))
    assert answer.dtype == torch.promote_types(module_dtype, torch.float32)
