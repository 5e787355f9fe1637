"""Evidence of single decisions: temperatures, and student beside teacher, against the same worked out at once."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from distill.losses import kl_divergence
from distill.tasks import Classification
from distill.tasks.calibration import Calibration
from distill.tasks.decisions import ROWS, Decisions, decisions
from distill.tasks.multilabel import MultiLabel
from distill.tasks.side_by_side import SideBySide
from distill.tasks.temperature import TEMPERATURES, TemperatureScaling

COUNT, CLASSES = 600, 5


def made_up(sharpness: float = 1.0) -> Decisions:
    """Labels drawn by the softmax of logits, which are then made so many times as large."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(COUNT, CLASSES, generator=generator)
    classes = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return Decisions(sharpness * logits, classes)


def in_batches(decided: Decisions) -> list[Decisions]:
    parts = zip(decided.logits.split(170), decided.classes.split(170), strict=True)
    return [Decisions(*part) for part in parts]


def test_decisions_are_the_positions_that_count() -> None:
    logits, classes = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    valid = torch.rand(2, 4, 5) > 0.3
    found = decisions(logits, classes, valid)
    expected = [(logits[n, :, y, x], classes[n, y, x]) for n, y, x in valid.nonzero().tolist()]
    assert torch.equal(found.logits, torch.stack([row for row, _ in expected]))
    assert found.classes.tolist() == [int(label) for _, label in expected]


def test_of_many_positions_some_are_looked_at_evenly() -> None:
    classes = torch.arange(3 * ROWS + 1)
    found = decisions(torch.zeros(len(classes), 2), classes)
    assert len(found.classes) <= ROWS
    assert found.classes.diff().unique().tolist() == [4]


def test_scaling_finds_the_temperature_by_which_logits_were_sharpened() -> None:
    decided, scaling = made_up(sharpness=3.0), TemperatureScaling(Classification().compared_with_right)
    for batch in in_batches(decided):
        scaling.add(batch)
    found = scaling.result()
    assert found is not None
    assert found.temperature == pytest.approx(3.0, rel=0.16)
    assert found.scaled.error < found.calibration.error / 2
    assert found.loss == pytest.approx(float(F.cross_entropy(decided.logits, decided.classes)), rel=1e-5)
    halves = [slice(start, None, 2) for start in range(2)]
    losses = torch.stack(
        [
            torch.stack(
                [F.cross_entropy(decided.logits[h] / t, decided.classes[h], reduction="sum") for t in TEMPERATURES]
            )
            for h in halves
        ]
    )
    crossed = losses[0, losses[1].argmin()] + losses[1, losses[0].argmin()]
    assert found.scaled_loss == pytest.approx(float(crossed) / COUNT, rel=1e-5)


def _loss(decided: Decisions, half: slice, temperature: torch.Tensor) -> float:
    return float(F.cross_entropy(decided.logits[half] / temperature, decided.classes[half], reduction="sum"))


def test_a_calibration_at_temperature_one_is_the_one_of_the_answers() -> None:
    decided = made_up()
    scaling, whole = TemperatureScaling(Classification().compared_with_right), Calibration()
    scaling.add(decided)
    sure, said = decided.logits.softmax(1).max(1)
    whole.add(sure, said == decided.classes)
    found = scaling.result()
    assert found is not None
    assert torch.allclose(found.calibration.totals, whole.totals)


def test_labels_are_compared_with_being_true() -> None:
    logits, targets = torch.tensor([[2.0, -1.0], [0.5, 3.0]]), torch.tensor([[1, 0], [0, 1]])
    decided = MultiLabel().decisions(logits, targets)
    assert decided is not None
    sure, true = MultiLabel().compared_with_right(decided.logits.softmax(1), decided.classes)
    assert torch.allclose(sure, logits.sigmoid().flatten())
    assert true.tolist() == [True, False, False, True]


def test_too_few_decisions_fit_nothing() -> None:
    scaling = TemperatureScaling(Classification().compared_with_right)
    scaling.add(Decisions(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)))
    assert scaling.result() is None


def test_student_beside_teacher() -> None:
    teacher = made_up()
    student = Decisions(teacher.logits + torch.randn(COUNT, CLASSES), teacher.classes)
    both = SideBySide()
    for ours, theirs in zip(in_batches(student), in_batches(teacher), strict=True):
        both.add(ours, theirs)
    taught, said = teacher.logits.argmax(1), student.logits.argmax(1)
    assert both.count == COUNT
    for (t, s), count in both.pairs.items():
        pair = (taught == t) & (said == s)
        assert count == int(pair.sum())
        assert both.right[t, s] == (int((teacher.classes[pair] == t).sum()), int((teacher.classes[pair] == s).sum()))
    assert [count for _, count in both.apart] == sorted((c for (t, s), c in both.pairs.items() if t != s), reverse=True)
    groups = both.groups()
    assert sum(group.count for group in groups) == COUNT
    assert all(0.5 * COUNT / 8 < group.count < 2 * COUNT / 8 for group in groups)
    assert all(before.high <= after.low for before, after in pairwise(groups))
    weights = torch.tensor([group.count / COUNT for group in groups], dtype=torch.float64)
    kl = float(kl_divergence(student.logits.double(), teacher.logits.double()))
    assert float(weights @ torch.tensor([g.kl for g in groups], dtype=torch.float64)) == pytest.approx(kl, rel=1e-4)
    agreement = float((taught == said).double().mean())
    assert float(weights @ torch.tensor([g.agreement for g in groups], dtype=torch.float64)) == pytest.approx(agreement)
    sure = teacher.logits.softmax(1).amax(1)
    assert groups[0].low <= float(sure.min()) < float(sure.max()) <= groups[-1].high + 1e-6
