"""Mixup and cutmix: shares, areas, partners and labels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from distill.data.augment import Augment
from distill.data.augment.mixing import beta, kept

DRAWS = torch.rand(4000, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0])
def test_shares_are_distributed_as_beta(alpha: float) -> None:
    shares = beta(alpha, DRAWS[:, 0])
    assert shares.min() >= 0
    assert shares.max() <= 1
    expected = torch.from_numpy(stats.beta(alpha, alpha).ppf(DRAWS[:, 0].double().numpy()))
    errors = (shares - expected).abs()
    assert errors.mean() < 1e-4
    assert errors.max() < 0.03  # in the outermost of 4096 steps


def test_mixup_keeps_the_same_share_of_every_pixel() -> None:
    weights, share = kept(0.4, 0.0, DRAWS[:50], 6, 5)
    assert weights.shape == (50, 1, 1, 1)
    assert torch.equal(weights.flatten(1), share)


def test_cutmix_replaces_a_rectangle() -> None:
    weights, of_all = kept(0.0, 1.0, DRAWS[:500], 16, 12)
    weights = weights[:, 0]
    assert set(weights.unique().tolist()) == {0.0, 1.0}
    for weight in weights:
        rows, columns = (weight == 0).any(1), (weight == 0).any(0)
        assert (weight == 0).sum() == rows.sum() * columns.sum()
    share = 1 - weights.mean((1, 2))
    assert torch.equal(weights.mean((1, 2)), of_all[:, 0])
    assert (share <= 1 - beta(1.0, DRAWS[:500, 1]) + 1e-6).all()  # rounded down, or cut off at the border
    assert share.mean() > 0.25


def test_both_share_the_samples_between_them() -> None:
    weights, share = kept(1.0, 1.0, DRAWS, 8, 8)
    assert torch.allclose(weights.mean((1, 2, 3)), share[:, 0])
    halves = ((weights == 0) | (weights == 1)).all(3).all(2)
    assert 0.45 < halves.float().mean() < 0.55


def mixed(augment: Augment, count: int = 12, epoch: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images, others = torch.rand(2, count, 3, 8, 8, generator=generator)
    targets = torch.eye(5)[torch.randint(0, 5, (count,), generator=generator)]
    other_targets = torch.eye(5)[torch.randint(0, 5, (count,), generator=generator)]
    result = augment.mix(images, targets, others, other_targets, 0, epoch, torch.arange(count))
    shares = ((result[0] - others) / (images - others)).mean((1, 2, 3))
    assert torch.allclose(result[1], shares[:, None] * targets + (1 - shares[:, None]) * other_targets, atol=1e-3)
    return *result, shares


@pytest.mark.parametrize("augment", [Augment(mixup=0.5), Augment(cutmix=1.0), Augment(mixup=0.2, cutmix=1.0)], ids=str)
def test_labels_are_blended_as_the_pixels_are(augment: Augment) -> None:
    assert augment.mixes
    _, targets, shares = mixed(augment)
    assert torch.allclose(targets.sum(1), torch.ones(12))
    assert len(shares.unique()) > 5


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 50), st.integers(0, 100), st.integers(0, 100))
def test_partners_come_from_the_pool_and_depend_on_the_sample_alone(size: int, seed: int, epoch: int) -> None:
    augment, pool, indices = Augment(mixup=1.0), torch.arange(size) * 3 + 2, torch.arange(40)
    partners = augment.partners(pool, seed, epoch, indices)
    assert set(partners.tolist()) <= set(pool.tolist())
    assert torch.equal(augment.partners(pool, seed, epoch, indices.flip(0)), partners.flip(0))


def test_partners_change_with_the_epoch() -> None:
    augment, pool = Augment(mixup=1.0), torch.arange(1000)
    first, second = (augment.partners(pool, 0, epoch, pool) for epoch in (0, 1))
    assert (first == second).float().mean() < 0.01
    assert len(first.unique()) > 600  # 1 - 1/e of them
