"""Paired tests and bootstrap intervals, against enumeration, known formulas and simulated data sets."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.tasks import MultiLabel
from distill.tasks.base import Metric
from distill.tasks.evaluation import Evaluation, Scored, Standing
from distill.tasks.evidence import FLIPS, Gain, paired_test

MEAN = Metric("mean", higher_is_better=True, words="mean")
LOSS = Metric("mean", higher_is_better=False, words="loss")

tenths = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), min_size=1, max_size=10)


class OfScores(Evaluation):
    """The mean of numbers that are given, one a sample."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.count = len(scores)
        self._samples = [scores.double()]

    def update(self, logits: Tensor, targets: Tensor, teacher: Tensor | None) -> None:
        raise AssertionError

    def scored(self) -> Scored:
        return Scored({"mean": float(self.samples.mean())}, 0.0, self.calibration)

    def metric(self, weights: Tensor) -> Tensor:
        return weights @ self.samples / weights.sum(1)

    def by_class(self) -> tuple[Tensor, Tensor]:
        raise AssertionError

    def standing(self, chance: float) -> Standing:
        raise AssertionError


def enumerated(differences: list[int]) -> float:
    """The share of all ways to sign the differences whose sum is at least as far from zero, in whole numbers."""
    observed = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    return sum(each >= observed for each in sums) / len(sums)


@settings(deadline=None, max_examples=60)
@given(tenths)
def test_few_samples_are_enumerated(pairs: list[tuple[int, int]]) -> None:
    ours, theirs = (torch.tensor(column, dtype=torch.float64) / 10 for column in zip(*pairs, strict=True))
    differences = [a - b for a, b in pairs]
    found = paired_test(ours, theirs)
    # Tenths are no binary fractions: sums that are equal must count as equal all the same.
    assert found.p_value == enumerated(differences)
    assert (found.gained, found.lost) == (sum(d > 0 for d in differences), sum(d < 0 for d in differences))
    assert found.mean == pytest.approx(sum(differences) / 10 / len(pairs))
    assert found.name == "paired sign-flip test"
    assert paired_test(theirs, ours).p_value == found.p_value


def test_many_samples_are_drawn_and_always_the_same() -> None:
    generator = torch.Generator().manual_seed(3)
    ours, theirs = torch.rand(2, 400, generator=generator)
    ours += 0.03
    torch.manual_seed(1)
    before = torch.get_rng_state()
    p_value = paired_test(ours, theirs).p_value
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert paired_test(ours, theirs).p_value == p_value
    # The sum of flipped differences is close to a normal one of variance sum d^2.
    difference = (ours - theirs).double()
    normal = math.erfc(float(difference.sum().abs() / difference.square().sum().sqrt()) / math.sqrt(2))
    assert p_value == pytest.approx(normal, abs=4 * math.sqrt(normal * (1 - normal) / FLIPS))


def test_drawn_flips_agree_with_all_of_them() -> None:
    differences = [-7, 12, 3, -4, 9, -9, 5, 1, -2, 8, 11, -6, 2, -3, 10, -1]  # 65,536 ways: more than are drawn
    exact = enumerated(differences)
    found = paired_test(torch.tensor(differences).double(), torch.zeros(16)).p_value
    assert 0.05 < exact < 0.95
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / FLIPS))
    assert paired_test(torch.ones(100), torch.zeros(100)).p_value == 1 / (1 + FLIPS)  # never 0


def test_networks_that_score_alike_are_not_told_apart() -> None:
    for scores in (torch.rand(30), torch.rand(30) > 0.5):
        found = paired_test(scores, scores.clone())
        assert (found.gained, found.lost, found.mean, found.p_value) == (0, 0, 0.0, 1.0)


@pytest.mark.parametrize(("gained", "lost"), [(1, 0), (8, 2), (3, 3), (0, 9), (30, 14)])
def test_right_or_wrong_is_mcnemar_exact(gained: int, lost: int) -> None:
    ours = torch.tensor([True] * gained + [False] * lost + [True] * 5 + [False] * 4)
    theirs = torch.tensor([False] * gained + [True] * lost + [True] * 5 + [False] * 4)
    n, fewer = gained + lost, min(gained, lost)
    expected = min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n)
    found = paired_test(ours, theirs)
    assert found.p_value == pytest.approx(expected)
    assert (found.gained, found.lost, found.name) == (gained, lost, "exact paired test")


# ---------------------------------------------------------------------------------------------------- the interval


def test_the_interval_holds_the_true_gain_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    repeats, true, hit = 200, 0.2, 0
    for _ in range(repeats):
        common, ours, theirs = torch.randn(3, 80, generator=generator)
        gain = Gain.of(MEAN, OfScores(common + ours + true), OfScores(common + theirs))
        hit += gain.low <= true <= gain.high
    assert 0.90 <= hit / repeats <= 0.99  # 0.95 by name; a standard deviation of such a share is 0.015


def test_the_interval_is_that_of_the_difference_of_pairs() -> None:
    generator = torch.Generator().manual_seed(1)
    common, noise = 10 * torch.randn(300, generator=generator), torch.randn(300, generator=generator)
    gain = Gain.of(MEAN, OfScores(common + noise), OfScores(common))
    half = 1.96 * float(noise.std()) / math.sqrt(300)  # what samples have in common is none of its width
    assert gain.value == pytest.approx(float(noise.mean()), abs=1e-5)
    assert gain.low == pytest.approx(gain.value - half, abs=half / 4)
    assert gain.high == pytest.approx(gain.value + half, abs=half / 4)


def test_the_interval_is_always_the_same_and_leaves_random_numbers_alone() -> None:
    ours, theirs = OfScores(torch.rand(50)), OfScores(torch.rand(50))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = Gain.of(MEAN, ours, theirs)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert Gain.of(MEAN, ours, theirs) == first


def test_a_loss_gains_where_it_falls() -> None:
    better, worse = torch.rand(60), torch.rand(60) + 0.5
    gain, turned = (Gain.of(metric, OfScores(better), OfScores(worse)) for metric in (LOSS, MEAN))
    assert gain.low > 0
    assert (gain.value, gain.low, gain.high) == pytest.approx((-turned.value, -turned.high, -turned.low))


def test_resamples_without_any_label_are_left_out() -> None:
    """One sample in six has a label: by chance a third of all resamples have none, whose mAP is unknown."""
    targets = torch.zeros(6, 2, dtype=torch.long)
    targets[0] = 1
    networks = [MultiLabel().evaluation(2) for _ in range(2)]
    for seed, network in enumerate(networks):
        network.update(torch.randn(6, 2, generator=torch.Generator().manual_seed(seed)), targets, None)
    gain = Gain.of(MultiLabel.metric, *networks)
    assert all(math.isfinite(value) for value in (gain.value, gain.low, gain.high))
    assert gain.low <= gain.value <= gain.high


def test_pieces_of_a_document_are_drawn_together_and_count_once() -> None:
    ours = torch.tensor([1.0, 3.0, 5.0, 2.0], dtype=torch.float64)
    theirs = torch.tensor([0.0, 0.0, 9.0, 1.0], dtype=torch.float64)
    gain = Gain.of(MEAN, OfScores(ours), OfScores(theirs), torch.tensor([7, 7, 2, 7]))
    assert (gain.test.gained, gain.test.lost) == (1, 1)
    assert gain.low == pytest.approx(-4)  # one document or the other, never a piece alone
    assert gain.high == pytest.approx(5 / 3)
