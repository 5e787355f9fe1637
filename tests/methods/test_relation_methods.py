"""Relation methods against published code's numbers, or against their formula written out pair by pair in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.methods import CC, CRD, ICKD, PKT, RKD, SP, Example, Method
from distill.methods.cc import adjacent_correlation
from distill.types import Batch, Outputs

Row = list[float]


def dot(a: Row, b: Row) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(a: Row) -> Row:
    return [x / math.sqrt(dot(a, a)) for x in a]


def terms_of(method: Method, student: Tensor, teacher: Tensor, batch: Batch) -> dict[str, Tensor]:
    """A method's terms for given features of its tapped layers."""
    logits = torch.zeros(len(student), 10, dtype=student.dtype)
    mine = Outputs(logits, dict.fromkeys(method.taps.student, student))
    theirs = Outputs(logits, dict.fromkeys(method.taps.teacher, teacher))
    return method(mine, theirs, batch)


# ------------------------------------------------------------------------------------------ published numbers


@pytest.mark.parametrize(
    ("method", "key"),
    [
        (SP(["embedding"], ["embedding"], weight=1), "sp embedding"),
        (PKT(weight=1), "pkt embedding eps=1e-7"),
        (RKD(), "rkd embedding distance=25 angle=50"),
    ],
)
def test_relations_are_the_published_values(method, key, golden, student, teacher, batch) -> None:
    value = sum(term.item() for name, term in method(student, teacher, batch).items() if name != "ce")
    assert value == pytest.approx(float(golden[f"out/{key}"]), rel=1e-7)


def test_cc_without_embeddings_is_the_published_value(golden, student, teacher, batch) -> None:
    value = adjacent_correlation(student.features["embedding"], teacher.features["embedding"])
    assert value.item() == pytest.approx(float(golden["out/cc embedding"]))
    method = CC(dim=24, weight=1)
    method.setup(Example(student, teacher, batch.targets))
    for embed in (*method.embed_student, *method.embed_teacher):
        nn.init.eye_(embed.weight)
        nn.init.zeros_(embed.bias)
    assert method.double()(student, teacher, batch)["cc"].item() == pytest.approx(value.item())


# ------------------------------------------------------------------------------------------ formulas, written out


def test_gaussian_cc_is_its_formula(student, teacher, batch) -> None:
    def kernel(a: Row, b: Row) -> float:
        cosine = dot(unit(a), unit(b))
        return math.exp(-2 * 0.3) * sum((2 * 0.3 * cosine) ** p / math.factorial(p) for p in range(4))

    s, t = student.features["embedding"].tolist(), teacher.features["embedding"].tolist()
    n = range(len(s))
    expected = sum((kernel(s[i], s[j]) - kernel(t[i], t[j])) ** 2 for i in n for j in n) / len(s) ** 2
    method = CC(form="gaussian", gamma=0.3, order=3, weight=1)
    assert method(student, teacher, batch)["cc"].item() == pytest.approx(expected)


def test_gaussian_cc_expands_the_gaussian_kernel() -> None:
    x = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    direction = F.normalize(x, dim=1)
    exact = (-0.4 * torch.cdist(direction, direction).square()).exp()
    torch.testing.assert_close(CC(form="gaussian", order=20)._kernel(x), exact)


def test_ickd_is_its_formula(golden, batch) -> None:
    student, teacher = golden["in/student_map1"], golden["in/teacher_map2"]  # 6 channels on 8x8, 12 on 4x4
    method = ICKD(weight=1, label_weight=0)
    method.setup(
        Example(
            Outputs(torch.zeros(len(batch), 5), {"last_stage": student}),
            Outputs(torch.zeros(len(batch), 5), {"last_stage": teacher}),
            batch.targets,
        )
    )
    method.double()

    mixed = torch.einsum("ts,nshw->nthw", method.embed[0][0].weight[:, :, 0], student)
    mean, deviation = mixed.mean((0, 2, 3), keepdim=True), mixed.std((0, 2, 3), correction=0, keepdim=True)
    normal = (mixed - mean) / (deviation**2 + 1e-5).sqrt()

    def correlations(channels: Tensor) -> list[Row]:
        rows = [row.flatten().tolist() for row in channels]
        return [unit([dot(a, b) for b in rows]) for a in rows]

    expected = 0.0
    for s, t in zip(normal.detach(), teacher, strict=True):
        gaps = zip(correlations(s), correlations(t), strict=True)
        expected += sum((x - y) ** 2 for a, b in gaps for x, y in zip(a, b, strict=True)) / 12 / len(student)
    assert terms_of(method, student, teacher, batch)["ickd"].item() == pytest.approx(expected)


# ------------------------------------------------------------------------------------------ what relations ignore


@pytest.mark.parametrize("method", [SP(weight=1), PKT(weight=1), RKD(), CC(form="gaussian", weight=1)])
def test_relations_are_blind_to_rotation_and_scale(method: Method, batch: Batch) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 6, dtype=torch.float64, generator=generator)
    rotation = torch.linalg.qr(torch.randn(9, 9, dtype=torch.float64, generator=generator))[0][:6]
    terms = terms_of(method, 3 * x @ rotation, x, batch)  # wider by 3 columns, and larger
    assert sum(term.item() for name, term in terms.items() if name != "ce") == pytest.approx(0, abs=1e-7)


def test_rkd_is_blind_to_where_the_origin_is(batch: Batch) -> None:
    x = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    terms = terms_of(RKD(label_weight=0), x + 5, x, batch)
    assert sum(term.item() for term in terms.values()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 8])
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("method", [SP(), PKT(), RKD(), CC(form="gaussian")])
def test_equal_samples_do_no_harm(method: Method, value: float, samples: int) -> None:
    student = torch.full((samples, 6), value, requires_grad=True)
    teacher = torch.randn(samples, 4, generator=torch.Generator().manual_seed(0))
    batch = Batch(student, torch.zeros(samples, dtype=torch.long))
    total = torch.stack(list(terms_of(method, student, teacher, batch).values())).sum()
    total.backward()
    assert total.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_pairs_of_layers_add_up(golden, batch) -> None:
    features = [(golden[f"in/student_map{i}"], golden[f"in/teacher_map{i}"]) for i in (1, 2)]
    each = [terms_of(SP(label_weight=0), s, t, batch)["sp"].item() for s, t in features]
    names = ("first", "second")
    mine, theirs = (
        Outputs(torch.zeros(len(batch), 5), dict(zip(names, side, strict=True))) for side in zip(*features, strict=True)
    )
    assert SP(names, names, label_weight=0)(mine, theirs, batch)["sp"].item() == pytest.approx(sum(each))


def test_unequal_numbers_of_layers_are_named(student, teacher, batch) -> None:
    with pytest.raises(ValueError, match=r"student_layers=\['a', 'b'\].*teacher_layers=\['embedding'\]"):
        SP(["a", "b"], "embedding")(student, teacher, batch)
    with pytest.raises(ValueError, match=r"student_layers=\[\]"):
        SP([], [])(student, teacher, batch)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: CC(form="rbf"), "form='rbf'.*adjacent, gaussian"),
        (lambda: CC(dim=0), "dim=0"),
        (lambda: RKD(angle=-1), "angle=-1"),
        (lambda: CRD(momentum=1), "momentum=1"),
        (lambda: CRD(temperature=0), "temperature=0"),
        (lambda: CRD(negatives=0), "negatives=0"),
    ],
)
def test_impossible_settings_are_named(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
