"""Multi-label classification: losses and metrics against slow formulas and scikit-learn, and what it takes."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from method_files import FILES
from torch import Tensor

from distill import DistillModule
from distill.cli import CONFIGS
from distill.config import build
from distill.data.arrays import arrays
from distill.errors import SettingError
from distill.experiment.pipeline import run
from distill.methods import CTKD, KD, Composite, DeiT, LogitMSE, Method, Taps
from distill.methods.labels import BinaryLoss
from distill.models.cnn import cnn
from distill.models.network import Network
from distill.tasks import MultiLabel
from distill.tasks.average_precision import AveragePrecision, by_label, by_sample
from distill.tasks.base import check_method
from distill.types import Batch, Outputs

NAMES = [file.stem for file in FILES]
# One true class a sample is what they are made of: a rest of the classes, ranks among them, sums over them, memories.
EXCLUSIVE = {"crd", "dist", "dkd", "kd_standardized", "mlkd", "nkd"}
OF_OTHER_DATA = {"fgd", "ld", "ifvd", "cirkd", "cwd_logits"}  # boxes or masks

sizes = st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(0, 10_000))


def draw(count: int, labels: int, seed: int, *, ties: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, a teacher's, and labels; with ties few different logits."""
    generator = torch.Generator().manual_seed(seed)
    logits, teacher = 2 * torch.randn(2, count, labels, generator=generator)
    logits = logits.round() if ties else logits
    return logits, teacher, (torch.rand(count, labels, generator=generator) < 0.35).long()


def seen(method: Method, loss: torch.nn.Module | None = None) -> Method:
    """A method that is shown multi-label data."""
    method.see_by(MultiLabel())
    method.learn_labels_by(loss or MultiLabel().label_loss())
    return method


def term(method: Method, student: Tensor, teacher: Tensor, targets: Tensor) -> dict[str, Tensor]:
    batch = Batch(torch.zeros(len(targets), 1, 2, 2), targets, torch.arange(len(targets)))
    terms: dict[str, Tensor] = seen(method)(Outputs(student), Outputs(teacher), batch)
    return terms


# ---------------------------------------------------------------------------------------------------- divergences

Pair = tuple[float, float]  # the probabilities of true and of false


def kl(p: Pair, q: Pair) -> float:
    return p[0] * math.log(p[0] / q[0]) + p[1] * math.log(p[1] / q[1])


def mix(p: Pair, q: Pair, share: float) -> Pair:
    return share * p[0] + (1 - share) * q[0], share * p[1] + (1 - share) * q[1]


def alpha_beta(p: Pair, q: Pair, a: float = 0.8, b: float = 0.3) -> float:
    s = a + b
    return -sum(x**a * y**b - a / s * x**s - b / s * y**s for x, y in zip(p, q, strict=True)) / (a * b)


FORMULAS: dict[str, Callable[[Pair, Pair], float]] = {
    "kd": kl,
    "reverse_kd": lambda p, q: kl(q, p),
    "symmetric": lambda p, q: (kl(p, q) + kl(q, p)) / 2,
    "jsd": lambda p, q: (kl(p, mix(p, q, 0.5)) + kl(q, mix(p, q, 0.5))) / 2,
    "skew": lambda p, q: kl(p, mix(p, q, 0.1)),
    "tvd": lambda p, q: abs(p[0] - q[0]),
    "alpha_beta": alpha_beta,
}


def method_of(name: str, **settings: object) -> Method:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [f"method={name}", *(f"method.{name}.{k}={v}" for k, v in settings.items())])
    return build.method(config.method)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("name", FORMULAS)
def test_divergences_are_binary_and_scaled_by_the_temperature_squared(name: str, temperature: float) -> None:
    student, teacher, targets = draw(7, 3, 0)
    method = method_of(name, temperature=temperature, weight=1.0, label_weight=0.0)
    [found] = term(method, student.double(), teacher.double(), targets).values()
    total = 0.0
    for z, t in zip(student.double().flatten().tolist(), teacher.double().flatten().tolist(), strict=True):
        q, p = (1 / (1 + math.exp(-x / temperature)) for x in (z, t))
        total += FORMULAS[name]((p, 1 - p), (q, 1 - q))
    assert found.item() == pytest.approx(temperature**2 * total / student.numel(), rel=1e-9)


def test_a_learned_temperature_softens_each_label() -> None:
    student, teacher, targets = draw(7, 3, 0)
    method = method_of("ctkd", label_weight=0.0, weight=1.0)
    assert isinstance(method, CTKD)
    temperature = method.temperature.item()
    plain = term(KD(temperature=temperature, weight=1.0, label_weight=0.0), student, teacher, targets)
    assert term(method, student, teacher, targets)["ctkd"].item() == pytest.approx(plain["kd"].item(), rel=1e-5)


def test_hard_labels_and_logits_of_a_teacher_are_taken_label_by_label() -> None:
    student, teacher, targets = draw(7, 3, 0)
    hard = term(method_of("hard_label"), student, teacher, targets)["hard_label"] / 0.5
    expected = F.binary_cross_entropy_with_logits(student, (teacher > 0).float())
    assert hard.item() == pytest.approx(expected.item(), rel=1e-6)
    squared = term(LogitMSE(), student, teacher, targets)["logit_mse"]
    assert squared.item() == pytest.approx((student - teacher).square().mean().item(), rel=1e-6)


@pytest.mark.parametrize("name", ["kd", "hard_label", "wsld", "tf_kd", "logit_mse"])
def test_a_term_is_a_mean_over_samples_and_labels(name: str) -> None:
    """The weight of a term means the same for any number of labels, and for any split of a batch."""
    method = method_of(name, label_weight=0.5)
    student, teacher, targets = draw(12, 1, 0)
    one = term(method, student, teacher, targets)
    many = term(method, *(x.expand(-1, 80) for x in (student, teacher, targets)))
    parts = [term(method, *(x[rows] for x in (student, teacher, targets))) for rows in (slice(0, 4), slice(4, 12))]
    for key, value in one.items():
        assert many[key].item() == pytest.approx(value.item(), rel=1e-5), key
        assert (parts[0][key] / 3 + parts[1][key] * 2 / 3).item() == pytest.approx(value.item(), rel=1e-5), key


# ---------------------------------------------------------------------------------------------------- labels' loss


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_labels(smoothing: float, mixed: bool) -> None:
    logits, _, targets = draw(9, 4, 1)
    given = 0.3 * targets + 0.7 * targets.flip(0) if mixed else targets
    weights = torch.rand(2, 4) + 0.1
    total = 0.0
    for n in range(9):
        for c in range(4):
            share, z = float(given[n, c]), float(logits[n, c])
            y = (1 - smoothing) * share + smoothing * 0.5
            q = 1 / (1 + math.exp(-z))
            weight = (1 - share) * float(weights[0, c]) + share * float(weights[1, c])
            total -= weight * (y * math.log(q) + (1 - y) * math.log(1 - q))
    assert BinaryLoss(smoothing, weights)(logits, given).item() == pytest.approx(total / 36, rel=1e-5)
    plain = F.binary_cross_entropy_with_logits(logits, (1 - smoothing) * given.float() + smoothing / 2)
    assert BinaryLoss(smoothing)(logits, given).item() == pytest.approx(plain.item(), rel=1e-6)
    assert BinaryLoss(smoothing)(logits.bfloat16(), given).dtype == torch.float32


def test_weights_are_those_that_torch_has_for_positive_samples() -> None:
    logits, _, targets = draw(9, 4, 1)
    positive = torch.rand(4) + 0.5
    found = BinaryLoss(weights=torch.stack([torch.ones(4), positive]))(logits, targets)
    expected = F.binary_cross_entropy_with_logits(logits, targets.float(), pos_weight=positive)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_balanced_weights() -> None:
    task, targets = MultiLabel(), draw(200, 5, 2)[2]
    targets[:, 3], targets[:, 4] = 0, 1
    weights = task.class_weights("balanced", task.shown(targets, 5, balanced=False))
    each = torch.where(targets == 1, weights[1], weights[0])
    for label in range(3):
        column = each[:, label]
        with_it, without = (column[targets[:, label] == value].sum().item() for value in (1, 0))
        assert with_it == pytest.approx(without, rel=1e-5)
        assert column.mean().item() == pytest.approx(1, rel=1e-5)
    assert torch.equal(weights[:, 3:], torch.ones(2, 2))  # of labels that all have, or none
    listed = task.class_weights([1.0, 2.0, 3.0, 4.0, 0.0], torch.full((5,), 0.5))
    assert listed.tolist() == [[0.5, 1.0, 1.5, 2.0, 0.0]] * 2
    for wrong in ([1.0, 2.0], [0.0] * 5, [-1.0, 1.0, 1.0, 1.0, 1.0], [math.nan, 1.0, 1.0, 1.0, 1.0]):
        with pytest.raises(ValueError, match=r"class_weights=\["):
            task.class_weights(wrong, torch.full((5,), 0.5))


# ---------------------------------------------------------------------------------------------------- metrics


def slow_average_precision(scores: list[float], true: list[int]) -> float:
    """Threshold by threshold: precision times the recall that is new there."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = [y for s, y in zip(scores, true, strict=True) if s >= threshold]
        recall = sum(taken) / sum(true)
        total += sum(taken) / len(taken) * (recall - before)
        before = recall
    return total


@settings(deadline=None, max_examples=60)
@given(sizes, st.booleans())
def test_mean_average_precision(size: tuple[int, int, int], ties: bool) -> None:
    logits, _, targets = draw(*size, ties=ties)
    slow = {
        label: slow_average_precision(logits[:, label].tolist(), targets[:, label].tolist())
        for label in range(size[1])
        if targets[:, label].any()  # labels that no sample has are left out
    }
    metric = AveragePrecision()
    for part in (slice(0, 7), slice(7, None)):
        metric.update(logits[part], targets[part])
    found = metric.compute().item()
    each = by_label(logits, targets.bool())[:, 0]
    if not slow:
        assert math.isnan(found)
        return
    assert found == pytest.approx(sum(slow.values()) / len(slow), rel=1e-9)
    for label in range(size[1]):
        if label not in slow:
            assert each[label].isnan()
            continue
        expected = sklearn.metrics.average_precision_score(targets[:, label], logits[:, label])
        assert each[label].item() == pytest.approx(expected, rel=1e-6)
        assert slow[label] == pytest.approx(expected, rel=1e-6)


@settings(deadline=None, max_examples=20)
@given(sizes, st.booleans())
def test_a_sample_that_counts_twice_is_two_samples(size: tuple[int, int, int], ties: bool) -> None:
    logits, _, targets = draw(*size, ties=ties)
    times = torch.randint(0, 3, (size[0],), generator=torch.Generator().manual_seed(size[2]))
    found = by_label(logits, targets.bool(), times.double()[None])[:, 0]
    rows = times.repeat_interleave(times)  # only for its length
    expected = by_label(logits.repeat_interleave(times, 0), targets.bool().repeat_interleave(times, 0))[:, 0] if len(
        rows
    ) else torch.full((size[1],), torch.nan, dtype=torch.float64)  # fmt: skip
    torch.testing.assert_close(found, expected, equal_nan=True)


@settings(deadline=None, max_examples=40)
@given(sizes, st.booleans())
def test_average_precision_of_a_samples_labels(size: tuple[int, int, int], ties: bool) -> None:
    logits, _, targets = draw(*size, ties=ties)
    found = by_sample(logits, targets.bool())
    for row, said, true in zip(found.tolist(), logits.numpy(), targets.numpy(), strict=True):
        expected = sklearn.metrics.label_ranking_average_precision_score(true[None], said[None])
        assert row == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(sizes)
@pytest.mark.filterwarnings("ignore:.*ill-defined")
def test_scores_at_one_half(size: tuple[int, int, int]) -> None:
    logits, teacher, targets = draw(*size)
    count, labels, _ = size
    targets[0] = 1
    evaluation = MultiLabel().evaluation(labels)
    for part in (slice(0, 5), slice(5, None)):
        if len(targets[part]):
            evaluation.update(logits[part], targets[part], teacher[part])
    found = evaluation.scored().values
    said, true = (logits.sigmoid() >= 0.5).numpy().astype(int), targets.numpy()
    f1 = [sklearn.metrics.f1_score(true[:, c], said[:, c], zero_division=0) for c in range(labels)]
    assert found["f1_micro"] == pytest.approx(sklearn.metrics.f1_score(true.ravel(), said.ravel(), zero_division=0))
    assert found["f1_macro"] == pytest.approx(np.mean(f1))
    assert found["exact_match"] == pytest.approx((true == said).all(1).mean())
    assert found["map"] == pytest.approx(
        np.mean([sklearn.metrics.average_precision_score(true[:, c], logits[:, c]) for c in range(labels)]), rel=1e-6
    )
    assert found["agreement"] == pytest.approx(((logits >= 0) == (teacher >= 0)).double().mean().item())
    p, q = (x.double().sigmoid() for x in (teacher, logits))
    binary = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    assert found["kl"] == pytest.approx(binary.mean().item(), rel=1e-6, abs=1e-9)
    assert evaluation.scored().label_loss == pytest.approx(
        F.binary_cross_entropy_with_logits(logits, targets.float()).item(), rel=1e-5
    )
    assert evaluation.count == count
    torch.testing.assert_close(evaluation.samples, by_sample(logits, targets.bool()))


def test_labels_that_no_sample_has_are_in_no_mean_over_labels() -> None:
    logits, _, targets = draw(30, 3, 4)
    targets[:, 1] = 0
    evaluations = MultiLabel().evaluation(3), MultiLabel().evaluation(2)
    evaluations[0].update(logits, targets, None)
    evaluations[1].update(logits[:, [0, 2]], targets[:, [0, 2]], None)
    mine, without = (evaluation.scored().values for evaluation in evaluations)
    for name in ("map", "f1_macro"):
        assert mine[name] == without[name], name
    counts, scores = evaluations[0].by_class()
    assert counts[1] == 0
    assert scores[1].isnan()


def test_the_threshold_curve() -> None:
    logits, _, targets = draw(60, 3, 5)
    evaluation = MultiLabel().evaluation(3)
    evaluation.update(logits, targets, None)
    curve = evaluation.scored().curve
    assert curve is not None
    for place in (5, 30, 50, 80):
        said = logits.sigmoid() >= curve.points[place]
        p, r, f, _ = sklearn.metrics.precision_recall_fscore_support(
            targets.flatten(), said.flatten(), average="binary", zero_division=0
        )
        found = [float(curve.lines[name][place]) for name in ("precision", "recall", "F1")]
        assert found == pytest.approx([p, r, f], abs=1e-6)
    last = {name: float(line[-1]) for name, line in curve.lines.items()}  # where nothing is named
    assert (last["recall"], last["F1"]) == (0.0, 0.0)
    assert math.isnan(last["precision"])


def test_chance_is_what_a_guesser_gets() -> None:
    _, _, targets = draw(4000, 3, 6)
    targets[:, 1] = 0
    guesses = torch.randn(4000, 3, generator=torch.Generator().manual_seed(1))
    evaluation = MultiLabel().evaluation(3)
    evaluation.update(guesses, targets, None)
    standing = evaluation.standing(MultiLabel().chance(targets))
    assert standing.score == pytest.approx(standing.chance, abs=0.02)
    assert not standing.convincing
    better = MultiLabel().evaluation(3)
    better.update(guesses + 2 * targets, targets, None)
    assert better.standing(standing.chance).convincing


# ---------------------------------------------------------------------------------------------------- methods


@pytest.mark.parametrize("name", NAMES)
def test_every_method_takes_steps_or_says_in_one_line_what_it_needs(name: str) -> None:
    torch.manual_seed(0)
    method = method_of(name)
    teacher = Network(cnn(num_classes=4, in_channels=1, width=6), name="teacher")
    student = Network(cnn(num_classes=4, in_channels=1, width=4, norm="none"), name="student")
    images = torch.rand(8, 1, 8, 8)
    if name == "pkd":  # whose own layers are a detector's
        method.taps = Taps.of(["stages"], ["stages"])
    if name in EXCLUSIVE | OF_OTHER_DATA:
        with pytest.raises(SettingError) as refused:
            DistillModule(student, teacher, method, task=MultiLabel(), example=images)
        assert "multilabel data has not" in str(refused.value)
        assert "\n" not in str(refused.value)
        return
    module = DistillModule(student, teacher, method, task=MultiLabel(), example=images)
    for targets in (draw(8, 4, 0)[2], 0.4 * draw(8, 4, 1)[2].float()):  # plain and mixed
        module.zero_grad()
        loss = module.training_step(Batch(images, targets, torch.arange(8)), 0)
        loss.backward()
        assert loss.isfinite()
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        assert any(gradient.any() for gradient in gradients)
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_the_member_and_the_switch_that_cannot_work_are_named() -> None:
    standardized = KD()
    standardized.standardize_logits = True
    for method, said in {
        Composite({"kd": KD(), "dkd": method_of("dkd")}): "method.dkd: needs exclusive classes",
        Composite({"kd": standardized, "other": KD()}): r"method.kd.standardize_logits=true: needs exclusive classes",
        DeiT(): "DeiT: needs exclusive classes",
    }.items():
        members = [f"method.{each}" for each in method.methods] if isinstance(method, Composite) else None
        with pytest.raises(SettingError, match=said):
            check_method(MultiLabel(), method, members)


# -------------------------------------------------------------------------------------------------- what labels may be


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.float64])
@pytest.mark.parametrize(("name", "labels"), [("kd", 1), ("wsld", 4), ("tf_kd", 4)])
def test_labels_of_a_loader_are_of_any_type(name: str, labels: int, kind: torch.dtype) -> None:
    def loss(targets: Tensor) -> float:
        torch.manual_seed(0)
        student, teacher = (cnn(num_classes=labels, in_channels=1, width=width, norm="none") for width in (4, 6))
        module = DistillModule(student, teacher, method_of(name), task=MultiLabel())
        return float(module.training_step((torch.rand(6, 1, 8, 8), targets), 0).detach())

    targets = draw(6, labels, 3)[2]
    assert loss(targets.to(kind)) == pytest.approx(loss(targets), rel=1e-6)


@pytest.mark.parametrize("targets", [torch.tensor([[0, 2], [1, 1]]), torch.tensor([[0.0, -0.5]]), torch.tensor([0, 1])])
def test_other_labels_of_a_loader_are_refused(targets: Tensor) -> None:
    student, teacher = (cnn(num_classes=2, in_channels=1, width=4) for _ in range(2))
    module = DistillModule(student, teacher, task=MultiLabel())
    with pytest.raises(ValueError, match=r"must be \(N, labels\) of 0 and 1"):
        module.training_step((torch.rand(len(targets), 1, 8, 8), targets), 0)


def written(directory: Path, labels: Any, **more: Any) -> Path:
    labels = np.asarray(labels)
    images = np.random.default_rng(0).integers(0, 255, (len(labels), 8, 8), np.uint8)
    named = {"train_images": images, "train_labels": labels, "val_images": images, "val_labels": labels}
    np.savez(directory / "data.npz", **named | more)
    return directory / "data.npz"


TABLE = [[0, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 0]] * 10


@pytest.mark.parametrize("kind", ["int64", "int8", "uint8", "bool", "float32"])
def test_labels_of_arrays_are_of_any_type(kind: str, tmp_path: Path) -> None:
    source = arrays(str(written(tmp_path, np.array(TABLE, kind))))
    assert source.task == MultiLabel()
    assert source.class_names == ["0", "1", "2"]
    assert torch.equal(source.train.targets, torch.tensor(TABLE))


def test_other_labels_of_arrays_are_one_line(tmp_path: Path) -> None:
    for odd in (2, -1):
        with pytest.raises(SettingError, match=rf"train_labels are .*0 and 1 alone: they hold {odd}") as refused:
            arrays(str(written(tmp_path, [*TABLE[1:], [0, odd, 1]])))
        assert "\n" not in str(refused.value)
    with pytest.raises(SettingError, match=r"train_labels are .*0 and 1 alone: they hold 0.5"):
        arrays(str(written(tmp_path, np.array(TABLE) * 0.5)))
    with pytest.raises(SettingError, match=r"val_labels are int64 of shape \(40,\); must be \(N, labels\) of 0 and 1"):
        arrays(str(written(tmp_path, TABLE, val_labels=np.zeros(40, int))))
    with pytest.raises(SettingError, match=r"val labels are \(40, 2\); must be"):
        arrays(str(written(tmp_path, TABLE, val_labels=np.array(TABLE)[:, :2])))
    # One column of 0 and 1 says of which of two classes an image is, unless told otherwise.
    source = arrays(str(written(tmp_path, np.array(TABLE)[:, :1])))
    assert source.task != MultiLabel()
    assert source.class_names == ["0", "1"]
    source = arrays(str(tmp_path / "data.npz"), several_labels=True)
    assert source.task == MultiLabel()
    assert source.class_names == ["0"]
    with pytest.raises(SettingError, match="train_labels name 2 classes at once"):
        arrays(str(written(tmp_path, TABLE)), several_labels=False)


SETTINGS = ("model@student=cnn4", "model@teacher=cnn4", "baseline=false", "logger=none", "trainer.accelerator=cpu")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (["method=dkd"], "method.dkd: needs exclusive classes, which multilabel data has not"),
        (["method=[kd,crd]"], "method.crd: needs a class for each sample"),
        (["data.sampling=balanced"], "data.sampling=balanced: .*use class_weights=balanced"),
        (["class_weights=[1,2]"], r"class_weights=\[1.*\]: must be balanced, or a list of 3, one for each label"),
        (
            ["teaching=ensemble", "teaching.checkpoints=[a.pt]", "teaching.combine=learned"],
            "combine=learned: needs exclusive classes, which multilabel data has not; must be logits",
        ),
        (["teaching=cached", "teaching.top_k=2"], "teaching.top_k=2: needs exclusive classes, .* must be null"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_settings_without_a_meaning_are_one_line_before_any_work(
    override: list[str], said: str, tmp_path: Path
) -> None:
    file = written(tmp_path, TABLE)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [*SETTINGS, "data=arrays", f"data.path={file}", *override])
    with pytest.raises(SettingError, match=said) as refused:
        run(config, tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_labels_of_which_none_is_true_score_nothing() -> None:
    MultiLabel().check_measurable("x", torch.tensor([[0, 0], [0, 1]]))
    with pytest.raises(SettingError, match="data: x: no image to be scored has any label"):
        MultiLabel().check_measurable("x", torch.zeros(2, 2, dtype=torch.long))


def test_tables_name_what_is_true() -> None:
    task, names = MultiLabel(), ["cat", "dog", "owl"]
    logits, targets = torch.tensor([[3.0, -1.0, 0.0], [-2.0, -2.0, -2.0]]), torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert task.named_columns(names) == ["labels", *names]
    assert [row[0] for row in task.named(logits, names)] == ["cat;owl", ""]
    assert [float(cell) for cell in task.named(logits, names)[0][1:]] == pytest.approx(
        logits[0].sigmoid().tolist(), abs=1e-6
    )
    head = task.compared_columns(names)
    for teacher, said in ((None, ["", ""]), (-logits, ["dog;owl", "cat;dog;owl"])):
        rows = [dict(zip(head, row, strict=True)) for row in task.compared(logits, teacher, targets, names)]
        assert [row["target"] for row in rows] == ["cat;dog", ""]
        assert [row["predicted"] for row in rows] == ["cat;owl", ""]
        assert [row["teacher"] for row in rows] == said
    assert task.answer(logits[0], targets[0], names) == ("cat, owl", False)
    assert task.answer(logits[1], targets[1], names) == ("none", True)
    moved = task.renumbered(targets, torch.tensor([2, 0, 3]), 4)
    assert moved.tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]


def test_probabilities_in_place_of_logits_are_told() -> None:
    logits = draw(20, 3, 0)[0]
    task = MultiLabel()
    assert "sigmoid" in str(task.outputs_doubt("teacher", logits.sigmoid(), trained=True))
    assert task.outputs_doubt("teacher", logits, trained=True) is None
    assert task.outputs_doubt("teacher", logits.sigmoid(), trained=False) is None


def test_groups_of_samples_are_by_the_rarest_label() -> None:
    targets = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0]])
    assert MultiLabel().strata(targets).tolist() == [0, 1, 2, 3, 0]
