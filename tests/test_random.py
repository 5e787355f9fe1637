"""Random numbers that are hashes: uniform, and independent over everything that they are hashed from."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.random import Drawn, uniform

INDICES = torch.arange(20_000)


def test_values_are_uniform() -> None:
    drawn = uniform(0, 0, INDICES, 4)
    assert drawn.dtype == torch.float32
    assert drawn.min() >= 0
    assert drawn.max() < 1
    for column in drawn.unbind(1):
        counts = torch.histc(column, bins=100, min=0, max=1)
        chi_squared = ((counts - 200) ** 2 / 200).sum()
        assert 50 < chi_squared < 160  # 99 degrees of freedom: mean 99, deviation 14


@pytest.mark.parametrize("bits", [1, 8, 12])
def test_low_bits_are_as_random_as_high_ones(bits: int) -> None:
    low = (uniform(3, 1, INDICES, 1)[:, 0] * 2**24).long() % 2**bits
    assert abs(low.double().mean() / (2**bits - 1) - 0.5) < 0.02


def test_columns_seeds_epochs_and_neighbours_are_uncorrelated() -> None:
    columns = [
        *uniform(0, 0, INDICES, 6).unbind(1),
        *(uniform(seed, epoch, INDICES, 1)[:, 0] for seed, epoch in [(1, 0), (0, 1), (1, 1), (2**31, 0), (0, 299)]),
        uniform(0, 0, INDICES + 1, 1)[:, 0],
    ]
    correlations = torch.corrcoef(torch.stack(columns)) - torch.eye(len(columns))
    assert correlations.abs().max() < 0.035  # 5 deviations of 1 / sqrt(20000)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 10_000), st.lists(st.integers(0, 2**31), min_size=1, max_size=20))
def test_a_number_depends_on_its_own_index_alone(seed: int, epoch: int, indices: list[int]) -> None:
    together = uniform(seed, epoch, torch.tensor(indices), 3)
    for row, index in zip(together, indices, strict=True):
        assert torch.equal(uniform(seed, epoch, torch.tensor([index]), 3)[0], row)
    assert torch.equal(uniform(seed, epoch, torch.tensor(indices), 2), together[:, :2])


def test_what_is_looked_up_is_what_would_be_drawn() -> None:
    drawn = Drawn(100)
    indices = torch.tensor([7, 99, 0, 7])
    for seed, epoch, draws in [(1, 0, 2), (1, 0, 1), (2, 0, 2), (1, 1, 2), (1, 0, 2)]:
        assert torch.equal(drawn(seed, epoch, indices, draws), uniform(seed, epoch, indices, draws))


def test_no_two_samples_share_all_their_numbers() -> None:
    drawn = uniform(0, 0, INDICES, 2)
    assert len(drawn.unique(dim=0)) == len(INDICES)


def test_numbers_stay_what_they_were() -> None:
    """Recorded runs, caches and resumed runs rest on these."""
    drawn = (uniform(1, 2, torch.tensor([0, 1, 50_000]), 2) * 2**24).long()
    assert drawn.tolist() == [[10361864, 14765626], [2286422, 16008007], [15279387, 2237482]]
