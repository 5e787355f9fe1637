"""Schedules: factors as functions of the share of the training that is done."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.schedules import Constant, Cosine, MultiStep, Ramp

shares = st.floats(0, 1)


@given(shares)
def test_constant(progress: float) -> None:
    assert Constant()(progress) == 1


def test_cosine_warms_up_then_falls() -> None:
    schedule = Cosine(warmup=0.2, final=0.1)
    assert [schedule(p) for p in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0, 0.5, 1, 0.55, 0.1])


def test_multistep_is_the_published_recipe() -> None:
    schedule = MultiStep()
    epochs = [schedule(epoch / 240) for epoch in (0, 149, 150, 179, 180, 209, 210, 239)]
    assert epochs == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_ramp_is_linear_between_its_ends() -> None:
    schedule = Ramp(start=0.5, end=2, begin=0.2, until=0.6)
    assert [schedule(p) for p in (0, 0.2, 0.3, 0.4, 0.6, 1)] == pytest.approx([0.5, 0.5, 0.875, 1.25, 2, 2])


@given(shares)
def test_cosine_ramp_is_half_a_cosine(progress: float) -> None:
    assert Ramp(curve="cosine")(progress) == pytest.approx((1 - math.cos(math.pi * progress)) / 2)


@given(shares, shares, st.sampled_from(["linear", "cosine"]))
def test_ramps_only_rise(first: float, second: float, curve: str) -> None:
    schedule = Ramp(0.1, 3, until=0.7, curve=curve)  # type: ignore[arg-type]
    low, high = schedule(min(first, second)), schedule(max(first, second))
    assert 0.1 <= low <= high + 1e-12 <= 3 + 1e-11


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Ramp(until=0), "until=0: must be above begin=0"),
        (lambda: Ramp(begin=0.5, until=0.5), "until=0.5"),
        (lambda: Ramp(until=2), "until=2"),
        (lambda: Ramp(end=-1), "end=-1"),
        (lambda: Ramp(curve="sine"), "curve='sine'.*linear or cosine"),  # type: ignore[arg-type]
        (lambda: Cosine(warmup=1), "warmup=1"),
        (lambda: MultiStep(milestones=[0.5, 0.2]), "milestones"),
        (lambda: MultiStep(gamma=0), "gamma=0"),
    ],
)
def test_impossible_schedules_are_named(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("schedule", [Constant(warmup=0.1), Cosine(warmup=0.1), MultiStep(warmup=0.1)])
def test_every_schedule_warms_up_in_the_same_way(schedule) -> None:
    assert [schedule(p) for p in (0, 0.025, 0.05, 0.1)] == pytest.approx([0, 0.25, 0.5, 1])


def test_a_warm_up_changes_nothing_behind_it() -> None:
    for progress in (0.2, 0.65, 0.8, 1):
        assert MultiStep(warmup=0.1)(progress) == MultiStep()(progress)
        assert Constant(warmup=0.1)(progress) == 1
