"""The order of an epoch: who sees what, when."""

from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.data.order import EvaluationOrder, TrainingOrder, share_of_each_class


def steps(order: TrainingOrder | EvaluationOrder) -> list[list[int]]:
    return [draw.indices.tolist() for draw in order]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 200),
    batch=st.integers(1, 20),
    processes=st.integers(1, 4),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 5),
)
def test_processes_take_together_what_one_takes(count: int, batch: int, processes: int, seed: int, epoch: int) -> None:
    if count < batch * processes:
        count = batch * processes
    samples = torch.arange(count) * 3
    alone = TrainingOrder(samples, batch * processes, seed)
    together = [TrainingOrder(samples, batch, seed, process, processes) for process in range(processes)]
    for order in (alone, *together):
        order.set_epoch(epoch)
        assert len(order) == len(steps(order)) == count // (batch * processes)
    joined = [list(chain(*parts)) for parts in zip(*map(steps, together), strict=True)]
    assert joined == steps(alone)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(4, 100), batch=st.integers(1, 40), processes=st.integers(1, 4))
def test_training_shows_no_sample_twice_and_only_its_own(count: int, batch: int, processes: int) -> None:
    samples = torch.arange(count) * 7 + 1
    shown = [
        index
        for process in range(processes)
        for step in steps(TrainingOrder(samples, batch, 0, process, processes))
        for index in step
    ]
    assert len(set(shown)) == len(shown) > 0
    assert set(shown) <= set(samples.tolist())
    lengths = {len(step) for p in range(processes) for step in steps(TrainingOrder(samples, batch, 0, p, processes))}
    assert len(lengths) == 1


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def shown(seed: int, epoch: int) -> list[list[int]]:
        order = TrainingOrder(torch.arange(100), 10, seed)
        order.set_epoch(epoch)
        assert {draw.epoch for draw in order} == {epoch}
        return steps(order)

    assert shown(0, 0) == shown(0, 0)
    assert shown(3, 7) == shown(3, 7)
    assert len({str(shown(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_what_is_left_over_in_one_epoch_comes_in_another() -> None:
    order = TrainingOrder(torch.arange(10), 4, 0)
    seen: set[int] = set()
    for epoch in range(20):
        order.set_epoch(epoch)
        assert len(order) == 2
        seen.update(*steps(order))
    assert seen == set(range(10))


def test_fewer_samples_than_processes() -> None:
    with pytest.raises(ValueError, match=r"processes=3: must be at most the number of samples, 2"):
        TrainingOrder(torch.arange(2), 1, 0, 0, 3)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 100), batch=st.integers(1, 40), processes=st.integers(1, 4))
def test_evaluation_shows_every_sample_once(count: int, batch: int, processes: int) -> None:
    orders = [EvaluationOrder(count, batch, process, processes) for process in range(processes)]
    assert {len(order) for order in orders} == {max(len(steps(order)) for order in orders)}  # the same in all processes
    assert sorted(index for order in orders for step in steps(order) for index in step) == list(range(count))


def test_evaluation_keeps_the_order() -> None:
    assert steps(EvaluationOrder(5, 2)) == [[0, 1], [2, 3], [4]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.floats(0.01, 1), st.integers(0, 5))
def test_a_share_takes_as_much_of_every_class(labels: list[int], fraction: float, seed: int) -> None:
    targets = torch.tensor(labels)
    share = share_of_each_class(targets, fraction, seed)
    assert torch.equal(share, share.unique())
    assert torch.equal(share, share_of_each_class(targets, fraction, seed))
    for label in set(labels):
        count = labels.count(label)
        assert (targets[share] == label).sum() == max(1, round(fraction * count))


# ------------------------------------------------------------------------------------------------ balanced sampling


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    batch=st.integers(1, 5),
    processes=st.integers(1, 3),
    epoch=st.integers(0, 4),
)
def test_balanced_shows_every_class_equally_often(counts: list[int], batch: int, processes: int, epoch: int) -> None:
    classes = torch.repeat_interleave(torch.arange(len(counts)) * 2, torch.tensor(counts))
    classes = classes[torch.randperm(len(classes), generator=torch.Generator().manual_seed(1))]
    count = len(classes)
    if count < batch * processes:
        batch, processes = 1, 1
    samples = torch.arange(count) * 5 + 3
    whole = TrainingOrder(samples, count, 0, classes=classes)
    whole.set_epoch(epoch)
    (shown,) = steps(whole)
    assert len(shown) == count
    seen = torch.tensor([(i - 3) // 5 for i in shown])
    times = seen.bincount(minlength=count)
    totals = [int(times[classes == label].sum()) for label in classes.unique()]
    assert max(totals) - min(totals) <= 1
    for label in classes.unique():  # none comes a second time before all have come once
        of_class = times[classes == label]
        assert int(of_class.max()) - int(of_class.min()) <= 1
    together = [TrainingOrder(samples, batch, 0, p, processes, classes=classes) for p in range(processes)]
    for order in together:
        order.set_epoch(epoch)
    taken = [index for parts in zip(*map(steps, together), strict=True) for part in parts for index in part]
    assert taken == shown[: len(taken)]


def test_balanced_epochs_differ_and_repeat_and_large_classes_come_by_turns() -> None:
    classes = torch.tensor([0] * 90 + [1] * 10)
    order = TrainingOrder(torch.arange(100), 100, 0, classes=classes)

    def shown(epoch: int) -> list[int]:
        order.set_epoch(epoch)
        return steps(order)[0]

    assert shown(2) == shown(2) != shown(3)
    assert {index for epoch in range(20) for index in shown(epoch)} == set(range(100))
