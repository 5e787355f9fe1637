"""Whether one network beats another on the same samples: paired tests and bootstrap intervals."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor

from distill.tasks.base import Metric
from distill.tasks.evaluation import Evaluation

FLIPS = 10_000  # of the signs, where there are more ways to flip them than this
RESAMPLES = 500
CHUNK = 1 << 21  # numbers of a table of resamples that are worked on at once
EVEN = 1e-12  # relative: sums of flipped differences within this are equal but for rounding


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Whether one network beats another on the same samples.

    gained, lost: samples on which the first, and the second, scores higher.
    mean: of the first's scores less the second's.
    p_value: of a difference as large as this between equally good networks, two-sided.
    name: which test it is.
    """

    gained: int
    lost: int
    mean: float
    p_value: float
    name: str


def paired_test(ours: Tensor, theirs: Tensor) -> PairedTest:
    """The test that fits two networks' (N,) scores of the same samples.

    Right or wrong (bool): McNemar's, exact. Numbers (float): flips of the differences' signs, all of them for few
    samples, else 10,000 drawn ones.
    """
    difference = ours.double() - theirs.double()
    gained, lost, mean = int((difference > 0).sum()), int((difference < 0).sum()), float(difference.mean())
    if ours.dtype == torch.bool:
        p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
        return PairedTest(gained, lost, mean, p_value, "exact paired test")
    return PairedTest(gained, lost, mean, _sign_flips(difference), "paired sign-flip test")


def _sign_flips(difference: Tensor) -> float:
    """Two-sided p-value of the sum of (N,) float64 differences under flips of their signs."""
    moved = difference[difference != 0]
    observed, count = float(moved.sum().abs()), len(moved)
    if count == 0:
        return 1.0
    exact = 2**count <= FLIPS
    edge = observed - EVEN * float(moved.abs().sum())
    extreme = sum(int(((2.0 * flips - 1.0) @ moved).abs().ge(edge).sum()) for flips in _flips(count, exact=exact))
    return extreme / 2**count if exact else (1 + extreme) / (1 + FLIPS)


def _flips(count: int, *, exact: bool) -> Iterator[Tensor]:
    """Tables (b, count) of zeros and ones, float64: each pattern once, or drawn ones, always the same."""
    if exact:
        yield (torch.arange(2**count)[:, None] >> torch.arange(count) & 1).double()
        return
    generator, rows = torch.Generator().manual_seed(0), max(1, CHUNK // count)
    for start in range(0, FLIPS, rows):
        yield torch.randint(2, (min(rows, FLIPS - start), count), generator=generator).double()


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better one network is than another on a split.

    value: difference of the task's metric, positive where the first is better.
    low, high: of its 95 % interval, by resampling the samples (bootstrap, percentiles).
    test: whether chance alone could do this.
    """

    value: float
    low: float
    high: float
    test: PairedTest

    @classmethod
    def of(cls, metric: Metric, ours: Evaluation, theirs: Evaluation, groups: Tensor | None = None) -> "Gain":
        """Of two networks that were asked of the same samples, in the same order.

        groups: (N,) int64, of samples that belong together, as the pieces of a document do: they are drawn together,
            and each group counts once in the test, by its mean. None: each sample stands for itself.
        """
        value, other = (evaluation.scored().values[metric.name] for evaluation in (ours, theirs))
        assert value is not None
        assert other is not None
        sign = 1.0 if metric.higher_is_better else -1.0
        place = torch.arange(ours.count) if groups is None else groups.unique(return_inverse=True)[1]
        tables = (weights[:, place] for weights in _resamples(int(place.max()) + 1))
        drawn = torch.cat([sign * (ours.metric(w) - theirs.metric(w)) for w in tables])
        drawn = drawn[drawn.isfinite()]  # a resample may leave out all that the metric looks at
        low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=drawn.dtype)).tolist()
        scores = [each.samples if groups is None else _means(each.samples, place) for each in (ours, theirs)]
        return cls(metric.gain(value, other), low, high, paired_test(*scores))


def _means(scores: Tensor, place: Tensor) -> Tensor:
    """(G,) float64 means of (N,) scores by group."""
    sums = torch.zeros(int(place.max()) + 1, dtype=torch.float64).index_add_(0, place, scores.double())
    return sums / place.bincount()


def _resamples(count: int) -> Iterator[Tensor]:
    """How often each of so many samples counts in each resample: tables (b, count) float64, always the same."""
    generator, rows = torch.Generator().manual_seed(0), max(1, CHUNK // count)
    for start in range(0, RESAMPLES, rows):
        drawn = torch.randint(count, (min(rows, RESAMPLES - start), count), generator=generator)
        counts = torch.zeros(drawn.shape, dtype=torch.float64)
        yield counts.scatter_add_(1, drawn, torch.ones_like(counts))
