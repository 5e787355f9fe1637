"""Metrics against literal, slow computations in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.report import SplitResult
from distill.tasks import Classification
from distill.tasks.calibration import BINS, Calibration
from distill.tasks.evaluation import Evaluation, Values
from distill.tasks.evidence import PairedTest, paired_test
from distill.types import Outputs

sizes = st.tuples(st.integers(1, 60), st.integers(2, 12), st.integers(0, 10_000), st.floats(0.1, 8))


def draw(count: int, classes: int, seed: int, scale: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits, other = (scale * torch.randn(count, classes, generator=generator) for _ in range(2))
    return logits, other, torch.randint(classes, (count,), generator=generator)


def evaluated(logits: Tensor, targets: Tensor, teacher: Tensor | None = None) -> Evaluation:
    """In three batches of unequal sizes, or fewer."""
    evaluation = Classification().evaluation(logits.shape[1])
    for part in torch.arange(len(targets)).tensor_split([len(targets) // 4, len(targets) // 2]):
        if len(part):
            evaluation.update(logits[part].float(), targets[part], None if teacher is None else teacher[part].float())
    return evaluation


def score(logits: Tensor, targets: Tensor, teacher: Tensor | None = None) -> Values:
    return evaluated(logits, targets, teacher).scored().values


def reliability(logits: Tensor, targets: Tensor, bins: int = BINS) -> tuple[Tensor, Tensor, Tensor]:
    confidence, chosen = logits.float().softmax(1).max(1)
    found = Calibration(bins)
    found.add(confidence, chosen == targets)
    return found.right, found.confidence, found.count


def mcnemar(mine: Tensor, other: Tensor, targets: Tensor) -> PairedTest:
    return paired_test(*(evaluated(logits, targets).samples for logits in (mine, other)))


def softmax(row: list[float]) -> list[float]:
    weights = [math.exp(value - max(row)) for value in row]
    return [weight / sum(weights) for weight in weights]


def calibration_error(logits: Tensor, targets: Tensor) -> float:
    """1706.04599, eq. 5, sample by sample."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, target in zip(logits.double().tolist(), targets.tolist(), strict=True):
        p = softmax(row)
        confidence = max(p)
        place = min(int(confidence * 15), 14)
        bins.setdefault(place, []).append((confidence, p.index(confidence) == target))
    gaps = [abs(sum(c for c, _ in b) - sum(right for _, right in b)) for b in bins.values()]
    return sum(gaps) / len(targets)


@settings(deadline=None, max_examples=40)
@given(sizes)
def test_scores(size: tuple[int, int, int, float]) -> None:
    logits, teacher, targets = draw(*size)
    scores = score(logits, targets, teacher)
    said, taught = ([row.index(max(row)) for row in table.tolist()] for table in (logits, teacher))
    n = len(targets)
    assert scores["accuracy"] == pytest.approx(sum(a == t for a, t in zip(said, targets.tolist(), strict=True)) / n)
    assert scores["agreement"] == pytest.approx(sum(a == b for a, b in zip(said, taught, strict=True)) / n)
    assert scores["ece"] == pytest.approx(calibration_error(logits, targets), abs=1e-5)
    kl = 0.0
    for mine, theirs in zip(logits.double().tolist(), teacher.double().tolist(), strict=True):
        p, q = softmax(theirs), softmax(mine)
        kl += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert scores["kl"] == pytest.approx(kl / n, rel=1e-6, abs=1e-9)


def test_without_a_teacher_there_is_nothing_to_agree_with() -> None:
    logits, _, targets = draw(20, 4, 0)
    scores = score(logits, targets)
    assert scores["agreement"] is None
    assert scores["kl"] is None


def test_a_network_agrees_with_itself() -> None:
    logits, _, targets = draw(20, 4, 0)
    scores = score(logits, targets, logits)
    assert scores["agreement"] == 1
    assert scores["kl"] == pytest.approx(0, abs=1e-12)


def test_scores_of_half_precision_are_those_of_its_numbers() -> None:
    logits, teacher, targets = draw(50, 6, 1)
    half = logits.to(torch.bfloat16)
    assert score(half, targets, teacher) == score(half.float(), targets, teacher)


def two_sided(gained: int, lost: int) -> float:
    """The share of fair coin sequences that are at most as likely as this one."""
    n = gained + lost
    likelihood = [math.comb(n, k) for k in range(n + 1)]
    return sum(way for way in likelihood if way <= likelihood[gained]) / 2**n


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 5), st.integers(0, 5))
def test_the_paired_test_is_mcnemars_exact_one(gained: int, lost: int, both: int, neither: int) -> None:
    right, wrong = [5.0, 0.0], [0.0, 5.0]
    kinds = [(right, wrong)] * gained + [(wrong, right)] * lost + [(right, right)] * both + [(wrong, wrong)] * neither
    if not kinds:
        return
    mine, other = (torch.tensor(column) for column in zip(*kinds, strict=True))
    test = mcnemar(mine, other, torch.zeros(len(kinds), dtype=torch.long))
    assert (test.gained, test.lost) == (gained, lost)
    assert test.p_value == pytest.approx(two_sided(gained, lost) if gained + lost else 1.0)


def test_the_paired_test_by_hand() -> None:
    # Eight won, two lost of ten: 2 * (1 + 10 + 45) / 1024.
    assert two_sided(8, 2) == 112 / 1024
    logits = torch.tensor([[1.0, 0.0]] * 8 + [[0.0, 1.0]] * 2)
    test = mcnemar(logits, logits.flip(1), torch.zeros(10, dtype=torch.long))
    assert (test.gained, test.lost, test.p_value) == (8, 2, pytest.approx(112 / 1024))


@settings(deadline=None, max_examples=40)
@given(sizes)
def test_reliability_adds_up_to_the_calibration_error(size: tuple[int, int, int, float]) -> None:
    logits, _, targets = draw(*size)
    accuracy, confidence, count = reliability(logits, targets)
    assert len(count) == BINS == 15
    assert count.sum() == len(targets)
    assert torch.equal(accuracy.isnan(), count == 0)
    full = count > 0
    gaps = (accuracy - confidence)[full].abs() * count[full] / len(targets)
    assert float(gaps.sum()) == pytest.approx(calibration_error(logits, targets), abs=1e-5)
    low = torch.arange(15)[full] / 15
    assert ((confidence[full] >= low - 1e-6) & (confidence[full] <= low + 1 / 15 + 1e-6)).all()


def test_reliability_bins_by_hand() -> None:
    logits = torch.tensor([0.95, 0.55, 0.55, 0.95]).logit()
    table = torch.stack([logits, torch.zeros(4)], 1)  # of two classes, the first by so much
    accuracy, confidence, count = reliability(table, torch.tensor([0, 0, 1, 0]), bins=10)
    assert count.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 2]
    assert accuracy[5] == 0.5
    assert accuracy[9] == 1
    assert float(confidence[5]) == pytest.approx(0.55)
    assert float(confidence[9]) == pytest.approx(0.95)


def test_classes_that_the_teacher_rules_out_leave_scores_finite() -> None:
    logits, teacher, targets = draw(20, 4, 0)
    ruled_out = torch.arange(4) == (targets[:, None] + 1) % 4
    masked = teacher.masked_fill(ruled_out, -math.inf)
    scores = score(logits, targets, masked)
    p = masked.double().softmax(1)
    expected = (torch.special.xlogy(p, p) - p * logits.double().log_softmax(1)).sum(1).mean()
    assert scores["kl"] == pytest.approx(float(expected))
    ece = score(masked, targets, masked)["ece"]
    assert ece is not None
    assert math.isfinite(ece)
    assert score(masked, targets, masked)["kl"] == 0
    scored = {"student": evaluated(masked, targets, teacher).scored()}
    told = SplitResult("validation", Classification(), 20, scored).scores("student")
    assert told["kl"] is None  # infinite, which JSON cannot say
    assert Classification().measure(logits, Outputs(masked), targets)["teacher_entropy"] == pytest.approx(
        float(torch.special.entr(p).sum(1).mean()), rel=1e-5
    )
