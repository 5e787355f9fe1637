"""What the base class promises every method: precision, a teacher at rest, standardised logits, schedules."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from distill.errors import SettingError
from distill.losses.logits import as_rows, split_classes, standardize
from distill.methods import DKD, KD, PKT, Composite, Method, Taps
from distill.schedules import Cosine, Ramp
from distill.types import Batch, Outputs


class Spy(Method):
    """Multiplies features under autocast's eyes, and remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__(weight=2.0, label_weight=0.5)
        self.taps = Taps(("map",), ("map",))
        self.project = nn.Linear(3, 3)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        self.seen = student, teacher
        product = self.project(student.features["map"]) @ teacher.features["map"].T
        self.product = product.dtype
        return {"spy": product.mean() + (student.logits * teacher.logits).float().mean()}


def half(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(torch.bfloat16).requires_grad_()


BATCH = Batch(torch.zeros(4, 1, 1, 1), torch.tensor([0, 1, 2, 1]))


def test_methods_see_precise_features_and_a_teacher_at_rest() -> None:
    method = Spy()
    student, teacher = (Outputs(half(4, 5, seed=i), {"map": half(4, 3, seed=9 + i)}) for i in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        terms = method(student, teacher, BATCH)
    assert method.product == torch.float32
    assert [outputs.features["map"].dtype for outputs in method.seen] == [torch.float32] * 2
    assert all(term.dtype == torch.float32 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert student.logits.grad is not None
    assert student.logits.grad.dtype == torch.bfloat16
    assert student.features["map"].grad is not None
    assert teacher.logits.grad is None
    assert teacher.features["map"].grad is None


def test_double_stays_double(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    assert all(term.dtype == torch.float64 for term in PKT()(student, teacher, batch).values())


def test_the_switch_shows_the_method_z_scores_and_the_labels_raw_logits(
    student: Outputs, teacher: Outputs, batch: Batch
) -> None:
    method = KD(temperature=2, weight=9, label_weight=0.1)
    method.standardize_logits = True
    terms = method(student, teacher, batch)
    z_scores = [(x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True) for x in (student.logits, teacher.logits)]
    expected = KD(temperature=2, weight=9)(*map(Outputs, z_scores), batch)
    assert terms["kd"].item() == pytest.approx(expected["kd"].item(), rel=1e-6)
    assert terms["ce"].item() == pytest.approx(0.1 * F.cross_entropy(student.logits, batch.targets).item())


def test_the_switch_works_on_any_method_and_within_a_composite(
    student: Outputs, teacher: Outputs, batch: Batch
) -> None:
    inner, alone = DKD(), DKD()
    inner.standardize_logits = alone.standardize_logits = True
    both = Composite({"dkd": inner, "pkt": PKT()})
    assert both(student, teacher, batch)["nckd"].item() == alone(student, teacher, batch)["nckd"].item()
    assert both(student, teacher, batch)["nckd"].item() != DKD()(student, teacher, batch)["nckd"].item()


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8), st.floats(0.1, 10), st.floats(-100, 100))
@settings(max_examples=50, deadline=None)
def test_z_scores(values: list[float], scale: float, shift: float) -> None:
    logits = torch.tensor([values], dtype=torch.float64)
    if logits.std() < 1e-2:  # where eps counts
        return
    scores = standardize(logits)
    assert scores.mean().item() == pytest.approx(0, abs=1e-9)
    assert scores.std().item() == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(standardize(scale * logits + shift), scores, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(4, 1), (4, 7), (2, 7, 3), (0, 7)])
def test_equal_logits_have_no_score(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    logits = torch.full(shape, 0.1, dtype=dtype, requires_grad=True)
    scores = standardize(logits)
    assert scores.shape == shape
    assert not scores.any()
    (scores * torch.arange(scores.numel()).view(shape)).sum().backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_classes_split_without_losing_any() -> None:
    rows = torch.arange(12.0).view(3, 4)
    own, others = split_classes(rows, torch.tensor([0, 3, 1]))
    assert own.tolist() == [[0], [7], [9]]
    assert others.tolist() == [[1, 2, 3], [4, 5, 6], [8, 10, 11]]


def test_rows_are_positions() -> None:
    logits = torch.arange(24.0).view(2, 3, 2, 2)
    assert as_rows(logits)[3].tolist() == logits[0, :, 1, 1].tolist()
    assert as_rows(logits.half()).dtype == torch.float32


@pytest.mark.parametrize("schedule", [Ramp(0.2, 1, until=0.5), Cosine(warmup=0.1, final=0.2), Ramp(1, 0.1)])
def test_schedules_move_weights_and_temperatures(
    schedule: Callable[[float], float], student: Outputs, teacher: Outputs, batch: Batch
) -> None:
    method = KD(temperature=4, weight=0.9)
    method.schedules = {"weight": schedule, "temperature": Ramp(1, 2), "label_weight": Ramp(1, 3)}
    both = Composite({"kd": method})
    for progress in (0.0, 0.3, 1.0, 0.3):  # back again: a value comes from the progress alone
        both.set_progress(progress)
        factor = schedule(progress)
        fresh = KD(temperature=4 * (1 + progress), weight=0.9 * factor, label_weight=0.1 * (1 + 2 * progress))
        got, expected = both(student, teacher, batch), fresh(student, teacher, batch)
        assert {k: v.item() for k, v in got.items()} == pytest.approx({k: v.item() for k, v in expected.items()})


@pytest.mark.parametrize("name", ["tempo", "reduction", "log_target"])
def test_what_cannot_be_scheduled_is_named(name: str) -> None:
    method = KD()
    method.schedules[name] = Ramp()
    with pytest.raises(ValueError, match=f"schedules.*{name}"):
        method.set_progress(0.5)


def test_one_layer_may_go_without_brackets() -> None:
    assert PKT("embedding", ["a", "b"]).taps == Taps(("embedding",), ("a", "b"))


def test_a_method_that_returns_no_names_is_told(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    class Nameless(Method):
        def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Any:
            return student.logits.mean()

    with pytest.raises(
        SettingError, match=r"Nameless\.compute_losses returned a Tensor; must be a dict of scalars by name"
    ):
        Nameless(weight=1.0, label_weight=0.0)(student, teacher, batch)


def test_names_of_before_are_taken_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match=r"Old\.imitate is called compute_losses now"):

        class Old(Method):
            def imitate(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
                return {"mse": (student.logits - teacher.logits).square().mean()}

    answers = Outputs(torch.ones(2, 3))
    terms = Old(weight=2.0, label_weight=0.0)(
        Outputs(torch.zeros(2, 3)), answers, Batch(torch.zeros(2, 1), torch.zeros(2))
    )
    assert terms.total() == 2
