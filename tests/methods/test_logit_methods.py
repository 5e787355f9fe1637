"""Logit methods against published code's numbers, or against their formula written out sample by sample in float64."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.methods import (
    CTKD,
    DIST,
    DKD,
    JSD,
    KD,
    MLKD,
    NKD,
    TVD,
    WSLD,
    AlphaBeta,
    HardLabel,
    LogitMSE,
    Method,
    ReverseKD,
    Skew,
    Symmetric,
)
from distill.types import Batch, Outputs

T = 3.0  # a temperature other than every default

# ------------------------------------------------------------------------------------------ formulas, written out


def softmax(logits: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp(z / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def mix(share: float, p: list[float], q: list[float]) -> list[float]:
    return [share * a + (1 - share) * b for a, b in zip(p, q, strict=True)]


def alpha_beta(p: list[float], q: list[float], a: float, b: float) -> float:
    total = sum(
        x**a * y**b - a / (a + b) * x ** (a + b) - b / (a + b) * y ** (a + b) for x, y in zip(p, q, strict=True)
    )
    return -total / (a * b)


DIVERGENCES = {
    "kd": (KD(temperature=T, weight=1), kl),
    "reverse_kd": (ReverseKD(temperature=T, weight=1), lambda p, q: kl(q, p)),
    "jsd": (
        JSD(beta=0.3, temperature=T, weight=1),
        lambda p, q: 0.3 * kl(p, mix(0.3, p, q)) + 0.7 * kl(q, mix(0.3, p, q)),
    ),
    "symmetric": (Symmetric(temperature=T, weight=1), lambda p, q: (kl(p, q) + kl(q, p)) / 2),
    "skew": (Skew(alpha=0.2, temperature=T, weight=1), lambda p, q: kl(p, mix(0.2, p, q))),
    "skew reversed": (Skew(alpha=0.2, reverse=True, temperature=T, weight=1), lambda p, q: kl(q, mix(0.2, q, p))),
    "alpha_beta": (AlphaBeta(temperature=T, weight=1), lambda p, q: alpha_beta(p, q, 0.8, 0.3)),
    "tvd": (TVD(temperature=T, weight=1), lambda p, q: sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2),
}


def imitation(method: Method, student: Outputs, teacher: Outputs, batch: Batch) -> float:
    """The sum of a method's terms but the labels' cross-entropy."""
    terms = method(student, teacher, batch)
    return sum(term.item() for name, term in terms.items() if name != "ce")


@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergences_are_their_formula(name: str, student: Outputs, teacher: Outputs, batch: Batch) -> None:
    method, formula = DIVERGENCES[name]
    rows = zip(student.logits.tolist(), teacher.logits.tolist(), strict=True)
    expected = sum(formula(softmax(t, T), softmax(s, T)) for s, t in rows) * T**2 / len(student.logits)
    assert imitation(method, student, teacher, batch) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 8.0), ("mean", 0.1), ("positionmean", 1.0)])
@pytest.mark.parametrize("cls", [KD, ReverseKD, JSD, Symmetric, Skew, AlphaBeta, TVD])
def test_reductions(cls: type, reduction: str, factor: float, student: Outputs, teacher: Outputs, batch: Batch) -> None:
    expected = factor * imitation(cls(), student, teacher, batch)
    assert imitation(cls(reduction=reduction), student, teacher, batch) == pytest.approx(expected)


def test_logit_mse_is_the_mean_over_samples_and_classes(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    pairs = zip(student.logits.flatten().tolist(), teacher.logits.flatten().tolist(), strict=True)
    expected = sum((s - t) ** 2 for s, t in pairs) / student.logits.numel()
    assert imitation(LogitMSE(), student, teacher, batch) == pytest.approx(expected)


def test_hard_label_is_cross_entropy_with_the_teachers_choice(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    rows = zip(student.logits.tolist(), teacher.logits.tolist(), strict=True)
    expected = sum(-math.log(softmax(s)[t.index(max(t))]) for s, t in rows) / len(student.logits)
    assert imitation(HardLabel(weight=1), student, teacher, batch) == pytest.approx(expected)


def test_nkd_is_its_formula(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    total = 0.0
    for s, t, y in zip(student.logits.tolist(), teacher.logits.tolist(), batch.targets.tolist(), strict=True):
        total -= softmax(t)[y] * math.log(softmax(s)[y])
        p, q = (softmax(z[:y] + z[y + 1 :], T) for z in (t, s))
        total -= 1.5 * T**2 * sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    method = NKD(temperature=T, gamma=1.5)
    assert imitation(method, student, teacher, batch) == pytest.approx(total / len(student.logits))


def test_wsld_is_its_formula(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    total = 0.0
    for s, t, y in zip(student.logits.tolist(), teacher.logits.tolist(), batch.targets.tolist(), strict=True):
        share = 1 - math.exp(-math.log(softmax(s)[y]) / math.log(softmax(t)[y]))
        total -= share * T**2 * sum(a * math.log(b) for a, b in zip(softmax(t, T), softmax(s, T), strict=True))
    expected = total / len(student.logits)
    assert imitation(WSLD(temperature=T, weight=1), student, teacher, batch) == pytest.approx(expected, rel=1e-6)


def test_wsld_weights_carry_no_gradient(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    logits = student.logits.requires_grad_()
    WSLD(label_weight=0)(student, teacher, batch)["wsld"].backward()
    with torch.no_grad():
        log_q, log_p = logits.log_softmax(1), teacher.logits.log_softmax(1)
        own = batch.targets.unsqueeze(1)
        share = 1 - (-log_q.gather(1, own) / log_p.gather(1, own)).exp()
        expected = 2.25 * 4 * share * ((logits / 4).softmax(1) - (teacher.logits / 4).softmax(1)) / len(logits)
    torch.testing.assert_close(logits.grad, expected, rtol=1e-5, atol=1e-8)


# ------------------------------------------------------------------------------------------ published numbers


@pytest.mark.parametrize("temperature", [1, 4, 20])
def test_kd_is_the_published_value(temperature: int, golden: dict, student, teacher, batch) -> None:
    value = imitation(KD(temperature=temperature, weight=1), student, teacher, batch)
    assert value == pytest.approx(float(golden[f"out/kd temperature={temperature}"]), rel=1e-9)


@pytest.mark.parametrize(
    "settings", ["alpha=1 beta=8 temperature=4", "alpha=1 beta=2 temperature=4", "alpha=0.5 beta=1 temperature=2"]
)
def test_dkd_is_the_published_value(settings: str, golden: dict, student, teacher, batch) -> None:
    method = DKD(**{name: float(value) for name, value in (part.split("=") for part in settings.split())})
    assert imitation(method, student, teacher, batch) == pytest.approx(float(golden[f"out/dkd {settings}"]), rel=1e-7)


def test_dist_is_the_published_value(golden: dict, student, teacher, batch) -> None:
    value = imitation(DIST(weight=1), student, teacher, batch)
    assert value == pytest.approx(float(golden["out/dist beta=1 gamma=1 tau=4"]), rel=1e-7)


@pytest.mark.parametrize("temperature", [2, 4])
def test_standardised_kd_is_the_published_value(temperature: int, golden: dict, student, teacher, batch) -> None:
    method = KD(temperature=temperature, weight=1)
    method.standardize_logits = True
    expected = float(golden[f"out/logit_standardization+kd temperature={temperature}"])
    assert imitation(method, student, teacher, batch) == pytest.approx(expected, rel=1e-7)


def test_mlkd_correlations_are_the_published_values(golden: dict, student, teacher, batch) -> None:
    terms = MLKD(temperatures=[4], weight=1)(student, teacher, batch)
    assert terms["mlkd_class"].item() == pytest.approx(float(golden["out/mlkd class-correlation temperature=4"]))
    assert terms["mlkd_batch"].item() == pytest.approx(float(golden["out/mlkd batch-correlation temperature=4"]))
    assert terms["mlkd_instance"].item() == pytest.approx(float(golden["out/kd temperature=4"]))


def test_mlkd_sums_over_temperatures(student, teacher, batch) -> None:
    both = MLKD(temperatures=[2, 5])(student, teacher, batch)
    each = [MLKD(temperatures=[t])(student, teacher, batch) for t in (2, 5)]
    for name in ("mlkd_instance", "mlkd_batch", "mlkd_class"):
        assert both[name].item() == pytest.approx(sum(terms[name].item() for terms in each))


# ------------------------------------------------------------------------------------------ properties

logits_of_four = st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4)


@given(logits_of_four, logits_of_four, st.integers(0, 3), st.floats(0.5, 8))
@settings(max_examples=50, deadline=None)
def test_kd_is_tckd_and_the_teachers_doubt_times_nckd(s: list, t: list, true: int, temperature: float) -> None:
    """Equation 7 of 2203.08679, for one sample."""
    student, teacher = (Outputs(torch.tensor([z], dtype=torch.float64)) for z in (s, t))
    batch = Batch(torch.zeros(1, 1, 1, 1), torch.tensor([true]))
    terms = DKD(temperature=temperature, beta=1)(student, teacher, batch)
    doubt = 1 - softmax(t, temperature)[true]
    whole = float(KD(temperature=temperature, weight=1)(student, teacher, batch)["kd"])
    assert terms["tckd"].item() + doubt * terms["nckd"].item() == pytest.approx(whole, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("scale", [1e2, 1e4])
@pytest.mark.parametrize("cls", [DKD, NKD, DIST, WSLD, MLKD, HardLabel, CTKD])
def test_sure_networks_do_no_harm(cls: type, scale: float, student: Outputs, teacher: Outputs, batch: Batch) -> None:
    logits = (student.logits.float() * scale).requires_grad_()
    terms = cls()(Outputs(logits), Outputs(teacher.logits.float() * scale), batch)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert total.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("cls", [DKD, NKD, DIST, WSLD, MLKD, HardLabel])
def test_positions_count_as_samples(cls: type, student: Outputs, teacher: Outputs, batch: Batch) -> None:
    def as_image(rows: Tensor) -> Tensor:  # (8, ...) -> (2, ..., 2, 2)
        return rows.unflatten(0, (2, 2, 2)).movedim((1, 2), (-2, -1))

    dense = Outputs(as_image(student.logits)), Outputs(as_image(teacher.logits))
    value = imitation(cls(), *dense, replace(batch, targets=as_image(batch.targets)))
    assert value == pytest.approx(imitation(cls(), student, teacher, batch))


@pytest.mark.parametrize("cls", [DKD, NKD, WSLD])
def test_mixed_labels_count_as_their_likeliest(cls: type, student: Outputs, teacher: Outputs, batch: Batch) -> None:
    mixed = 0.7 * F.one_hot(batch.targets, 10).double() + 0.03
    value = imitation(cls(), student, teacher, replace(batch, targets=mixed))
    assert value == pytest.approx(imitation(cls(), student, teacher, batch))


def test_dist_wants_relations_not_values(teacher: Outputs, batch: Batch) -> None:
    assert imitation(DIST(), teacher, teacher, batch) == pytest.approx(0, abs=1e-9)
    constant = Outputs(torch.ones(8, 10, dtype=torch.float64, requires_grad=True))
    terms = DIST(weight=1)(constant, teacher, batch)  # no relation at all: correlation 0, and no NaN
    assert terms["dist_rows"].item() == pytest.approx(16)
    torch.stack(list(terms.values())).sum().backward()
    assert constant.logits.grad is not None
    assert constant.logits.grad.isfinite().all()


def test_ctkd_is_kd_at_its_temperature(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    method = CTKD(weight=1)
    at = 1 + 20 / (1 + math.exp(-1))
    assert method.temperature.item() == pytest.approx(at)
    expected = imitation(KD(temperature=at, weight=1), student, teacher, batch)
    assert imitation(method, student, teacher, batch) == pytest.approx(expected, rel=1e-5)


def test_ctkd_temperature_climbs_what_the_student_descends(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    method = CTKD(weight=1).double()
    method.set_progress(1.0)
    method(student, teacher, batch)["ctkd"].backward()

    def loss(theta: float) -> float:
        at = 1 + 20 / (1 + math.exp(-theta))
        return imitation(KD(temperature=at, weight=1), student, teacher, batch)

    slope = (loss(1 + 1e-5) - loss(1 - 1e-5)) / 2e-5
    assert abs(slope) > 1e-3
    assert float(method.theta.grad) == pytest.approx(-slope, rel=1e-4)


def test_ctkd_reversal_grows_from_nothing(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    method, gradients = CTKD(ramp=0.5), []
    for progress in (0.0, 0.25, 0.5, 1.0):
        method.zero_grad()
        method.set_progress(progress)
        method(student, teacher, batch)["ctkd"].backward()
        gradients.append(float(method.theta.grad))
    assert gradients[0] == 0
    assert gradients[1] == pytest.approx(gradients[2] / 2)
    assert gradients[3] == gradients[2]


def test_dkd_warms_up(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    method = DKD(warmup=0.5, weight=3)
    full = method(student, teacher, batch)["nckd"].item()
    for progress, share in ((0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.9, 1.0)):
        method.set_progress(progress)
        assert method(student, teacher, batch)["nckd"].item() == pytest.approx(share * full)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: KD(temperature=0), "temperature=0"),
        (lambda: TVD(reduction="none"), "reduction='none'.*batchmean"),
        (lambda: JSD(beta=1), "beta=1"),
        (lambda: Skew(alpha=1), "alpha=1"),
        (lambda: AlphaBeta(alpha=0.5, beta=-0.5), "alpha=0.5"),
        (lambda: DKD(beta=-1), "beta=-1"),
        (lambda: DKD(warmup=2), "warmup=2"),
        (lambda: MLKD(temperatures=[]), "temperatures=\\[\\]"),
        (lambda: CTKD(span=0), "span=0"),
        (lambda: DIST(gamma=float("nan")), "gamma=nan"),
    ],
)
def test_impossible_settings_are_named(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
