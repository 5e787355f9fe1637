"""What a run leaves behind, from results made up by hand."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from distill.data.source import ImageSource
from distill.data.split import Split
from distill.experiment.network_predictions import Predictions
from distill.experiment.split_evaluation import SplitEvaluation
from distill.models.cost import Speed, Spread
from distill.report import Provenance, Results, SplitResult, StageResult, write_report
from distill.report.content import Lines, Text
from distill.report.figures import curves, losses
from distill.report.pictures import disagreements
from distill.report.sections import report_of
from distill.report.table import ONLY_ON_THE_PAGE, columns, print_table, rows, short
from distill.report.tensorboard import hyperparameters, log_results
from distill.training.stats import StageStats

COUNT, CLASSES = 40, 3
SPEED = Speed(Spread(0.16, 0.15, 0.4), Spread(4000.0, 3900.0, 4100.0), batch_size=32, threads=1)
CONFIG = {"seed": 3, "method": {"kd": {"temperature": 4.0}}, "note": "<script>alert(1)</script>"}


NAMES = ("cat", "$dog_$", "<i>owl</i>")
Logits = dict[str, torch.Tensor]


def drawn(channels: int = 1) -> tuple[torch.Tensor, torch.Tensor, Logits]:
    """Images, labels, and the logits of all three networks: the student is nearer to the teacher."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(COUNT) % CLASSES
    images = torch.randint(0, 256, (COUNT, channels, 8, 8), dtype=torch.uint8, generator=generator)
    teacher = torch.randn(COUNT, CLASSES, generator=generator) + 3 * torch.eye(CLASSES)[targets]
    logits = {
        stage: teacher + confusion * torch.randn(COUNT, CLASSES, generator=generator)
        for stage, confusion in (("teacher", 0.0), ("baseline", 2.0), ("student", 1.0))
    }
    return images, targets, logits


def scored(
    logits: Logits, targets: torch.Tensor, name: str = "validation", class_names: Sequence[str] = NAMES
) -> SplitResult:
    """Three batches of logits, evaluated."""
    split = Split(torch.zeros(len(targets), 1, 8, 8, dtype=torch.uint8), targets)
    places = torch.arange(len(targets)).chunk(3)
    batches = [Predictions({n: given[i] for n, given in logits.items()}, targets[i], i) for i in places]
    return SplitEvaluation(ImageSource("digits", split, split, class_names), batches).result(name)


def made_up(
    *, baseline: bool = True, trained: bool = True, channels: int = 1, class_names: Sequence[str] = NAMES
) -> Results:
    images, targets, logits = drawn(channels)
    if not baseline:
        del logits["baseline"]
    stages = {}
    for stage in logits:
        history = [{"epoch": n, "train/loss": 1.0 / n, "val/accuracy": 0.5 + n / 10} for n in (1, 2, 3)]
        record = StageStats(2.5, 40, 1234.5, history) if trained or stage != "teacher" else None
        stages[stage] = StageResult(f"net-{stage}", 58594, 1356672, 234376, SPEED, record)
    return Results(
        data="digits", method=["kd"], seed=3, device="cpu (x86_64)", precision="32-true", stages=stages,
        validation=scored(logits, targets, class_names=class_names), shown=lambda index: images[index], seconds=9.5,
        versions={"distill": "0.1.0"},
    )  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_report(made_up(), CONFIG, tmp_path)
    return tmp_path


def said_in(results: Results, section: str) -> list[str]:
    """What the blocks of a section of the report say; nothing where there is no such section."""
    blocks = [each.blocks for each in report_of(results, CONFIG).sections if each.name == section]
    return [block.text for block in chain(*blocks) if isinstance(block, Text | Lines)]


def test_what_preflight_said_stands_in_the_report() -> None:
    lines = ["layers    at: stem <-> conv1", "memory    1 GiB"]
    assert said_in(replace(made_up(), preflight=lines), "preflight") == ["\n".join(lines)]
    assert said_in(made_up(), "preflight") == []


@pytest.mark.parametrize("warnings", [[], ["teacher gives <probabilities> [1]", "another"]])
def test_what_a_run_warned_of_stands_in_summary_table_and_report(
    warnings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = replace(made_up(), warnings=warnings)
    print_table(results, tmp_path)
    shown = [line for line in capsys.readouterr().out.splitlines() if "WARNING" in line]
    assert shown == [f"WARNING: {text}" for text in warnings]
    assert results.summary()["warnings"] == warnings
    assert said_in(results, "warnings") == warnings


# ------------------------------------------------------------------------------------------------------ summary.json


def full(directory: Path, file: str) -> None:
    """Have the disk be full for a file of a directory."""
    folder = directory / f".{file}.{os.getpid()}.tmp"
    folder.mkdir(parents=True)
    (folder / f"new{Path(file).suffix}").symlink_to("/dev/full")


def test_a_full_disk_takes_the_report_and_leaves_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    full(tmp_path, "report.html")
    write_report(made_up(), CONFIG, tmp_path)
    told = f"the report was not written (No space left on device); with room for it, resume={tmp_path} does so"
    assert caplog.messages == [told]
    assert json.loads((tmp_path / "summary.json").read_text())["student"]
    assert not (tmp_path / "report.html").exists()
    full(tmp_path, "summary.json")
    before = (tmp_path / "summary.json").read_text()
    capsys.readouterr()
    with pytest.raises(OSError, match="No space left"):
        write_report(made_up(), CONFIG, tmp_path)
    assert "net-student" in capsys.readouterr().out
    assert (tmp_path / "summary.json").read_text() == before


def test_the_summary_has_the_fixed_keys_and_these_beside_them(written: Path) -> None:
    said = json.loads((written / "summary.json").read_text())
    fixed = {"data", "method", "seed", "device", "precision", "teacher", "baseline", "student", "seconds", "versions"}
    judged = {"task", "metric", "higher_is_better", "percent", "gain", "gain_low", "gain_high", "gain_points",
              "p_value"}  # fmt: skip
    assert set(said) == fixed | judged | {"warnings", "keep", "test"}
    assert (said["task"], said["metric"], said["higher_is_better"]) == ("classification", "accuracy", True)
    network = {"name", "accuracy", "parameters", "flops", "latency_ms", "agreement", "kl", "ece", "f1", "mcc",
               "weights_bytes", "inference", "images_per_second", "epochs", "kept_epoch", "score"}  # fmt: skip
    assert all(set(said[stage]) == network for stage in ("teacher", "baseline", "student"))
    assert set(said["seconds"]) == {"teacher", "baseline", "student", "total"}
    assert said["method"] == ["kd"]
    assert said["teacher"]["agreement"] is None
    _, targets, logits = drawn()
    accuracy = {name: float((given.argmax(1) == targets).double().mean()) for name, given in logits.items()}
    assert said["student"]["accuracy"] == said["student"]["score"] == pytest.approx(accuracy["student"])
    assert said["gain"] == pytest.approx(accuracy["student"] - accuracy["baseline"])
    assert said["gain_points"] == pytest.approx(100 * said["gain"])
    assert said["gain_low"] < said["gain"] < said["gain_high"]
    assert said["seconds"] == {"teacher": 2.5, "baseline": 2.5, "student": 2.5, "total": 9.5}


def test_without_a_baseline_or_a_trained_teacher() -> None:
    said = made_up(baseline=False, trained=False).summary()
    assert (said["baseline"], said["gain_points"], said["p_value"]) == (None, None, None)
    assert (said["seconds"]["teacher"], said["seconds"]["baseline"]) == (None, None)
    assert said["teacher"]["images_per_second"] is None
    json.dumps(said)


def test_the_verdict_claims_no_more_than_the_split_shows() -> None:
    _, targets, logits = drawn()
    right, wrong = 5 * torch.eye(CLASSES)[targets], 5 * torch.eye(CLASSES)[(targets + 1) % CLASSES]

    def verdict(student_right: int, baseline_right: int) -> str:
        counts = {"student": student_right, "baseline": baseline_right}
        given = {name: torch.cat([right[:count], wrong[count:]]) for name, count in counts.items()}
        return replace(made_up(), validation=scored({**logits, **given}, targets)).verdict()

    assert verdict(40, 20).startswith("Distillation helped: +50.0 points over the same student alone (20 images won, 0")
    assert verdict(20, 40).startswith("Distillation hurt: -50.0 points")
    assert verdict(22, 20).startswith("No difference that this validation split can show: +5.0 points")
    assert "40 images, one seed" in verdict(22, 20)
    assert made_up(baseline=False).verdict().startswith("Without a baseline")


def with_test_split(results: Results) -> Results:
    """The student right on all of 30 test images, the baseline on 10."""
    targets = torch.arange(30) % CLASSES
    right = 5 * torch.eye(CLASSES)[targets]
    baseline = torch.cat([right[:10], right[10:].roll(1, 1)])
    logits = {name: baseline if name == "baseline" else right for name in results.stages}
    return replace(results, test=scored(logits, targets, "test"))


def test_the_test_split_judges_where_there_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = with_test_split(made_up())
    assert results.verdict().startswith(
        "Distillation helped: +66.7 points over the same student alone (20 images won, 0"
    )
    assert "30 test images" in results.verdict()
    said = results.summary()
    assert said["test"]["images"] == 30
    assert said["test"]["baseline"]["accuracy"] == pytest.approx(1 / 3)
    assert said["test"]["student"]["agreement"] == 1
    assert said["test"]["p_value"] == pytest.approx(2**-19)
    assert said["gain_points"] == made_up().summary()["gain_points"]  # of the validation split, as ever
    print_table(results, tmp_path)
    shown = capsys.readouterr().out
    assert "The test split (30 images) was scored once" in said_in(results, "reading")[0]
    assert report_of(results, CONFIG).headline == ("+66.7", "points")
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines() if line.startswith("  student "))
    assert all(len(row) == len(columns(results)) for row in rows(results))
    assert made_up().summary()["test"] is None
    assert with_test_split(made_up(baseline=False)).summary()["test"]["baseline"] is None


def test_choosing_epochs_by_the_validation_split_is_said_to_flatter() -> None:
    chosen = replace(made_up(), keep="best")
    assert chosen.verdict().endswith("(keep=best), which flatters it; a test split would not.")
    assert with_test_split(chosen).verdict().endswith("flatters them; the test split does not.")
    assert "flatter" not in made_up().verdict()
    assert chosen.summary()["keep"] == "best"


# --------------------------------------------------------------------------------------------------------- the table


def test_the_table() -> None:
    table = rows(made_up(trained=False))
    assert [row[0] for row in table] == ["teacher", "baseline", "student"]
    assert all(len(row) == len(columns(made_up())) for row in table)
    student, scores = table[2], made_up().validation.scores("student")
    shares = [f"{scores['accuracy']:.1%}", f"{scores['agreement']:.1%}", f"{scores['ece']:.3f}"]
    assert student[1:] == ["net-student", *shares, "58.6 k", "1.36 M", "0.16 ms", "1,234"]
    assert (table[0][3], table[0][8]) == ("", "")  # the teacher agrees with no one, and was loaded


@pytest.mark.parametrize(
    ("count", "text"), [(7, "7"), (999, "999"), (1822, "1.82 k"), (58594, "58.6 k"), (1.5e6, "1.5 M"), (2e9, "2 G")]
)
def test_short_numbers(count: float, text: str) -> None:
    assert short(count) == text


def test_the_terminal_gets_the_table_the_verdict_and_the_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tensorboard").mkdir()
    print_table(made_up(), tmp_path)
    out = capsys.readouterr().out
    shown = [place for place, column in enumerate(columns(made_up())) if column not in ONLY_ON_THE_PAGE]
    for row in rows(made_up()):
        line = next(line for line in out.splitlines() if line.startswith(f"  {row[0]} "))
        assert line.split() == " ".join(row[place] for place in shown).split()
    places = [line.split()[-1] for line in out.splitlines()[-3:]]
    assert places == [str(tmp_path / name) for name in ("report.html", "tensorboard", "student.safetensors")]


def test_a_run_without_a_logger_names_no_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(made_up(), tmp_path)
    log_results(made_up(), CONFIG, [], tmp_path / "tensorboard")
    assert "TensorBoard" not in capsys.readouterr().out
    assert not (tmp_path / "tensorboard").exists()


# ------------------------------------------------------------------------------------------------------- TensorBoard


def read_events(directory: Path) -> EventAccumulator:
    return EventAccumulator(str(directory), {"scalars": 0, "tensors": 0}).Reload()


def test_a_teacher_that_was_loaded_is_a_line_in_the_students_chart(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    results = made_up(trained=False)
    log_results(results, CONFIG, [], tmp_path / "tensorboard")
    _, targets, logits = drawn()
    events = read_events(tmp_path / "tensorboard" / "teacher")
    assert set(events.Tags()["scalars"]) == {"val/accuracy", "val/ce"}
    wanted = {
        "val/accuracy": float((logits["teacher"].argmax(1) == targets).double().mean()),
        "val/ce": float(F.cross_entropy(logits["teacher"], targets)),
    }
    for tag, value in wanted.items():
        assert [event.step for event in events.Scalars(tag)] == [13, 26, 40]  # the ends of the student's three epochs
        assert [event.value for event in events.Scalars(tag)] == pytest.approx([value] * 3)


def test_a_teacher_that_was_trained_has_its_own_curve_and_charts_lie_over_each_other(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    log_results(made_up(), CONFIG, [], tmp_path / "tensorboard")
    assert not (tmp_path / "tensorboard" / "teacher").exists()
    (event,) = read_events(tmp_path / "tensorboard" / "student").Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}
    assert charts["accuracy"] == ["val/accuracy"]


def test_hyperparameters_are_few_and_named_alike() -> None:
    config = {"method": {"kd": {"_target_": "x", "temperature": 4.0, "weight": 0.9, "log_target": True}},
              "optimizer": {"lr": 0.01}, "trainer": {"max_epochs": 5}, "data": {"batch_size": 32}}  # fmt: skip
    given = ["method.kd.temperature=4", "trainer.max_epochs=5", "+student.width=8", "seed=3", "~a"]
    origin = Provenance([], "", {}, {}, given)
    common = {"method": "kd", "teacher": "net-teacher", "student": "net-student", "data": "digits", "lr": 0.01,
              "epochs": 5, "batch_size": 32, "seed": 3}  # fmt: skip
    found = hyperparameters(replace(made_up(), provenance=origin), config)
    assert found == {**common, "temperature": 4.0, "weight": 0.9, "student.width": "8"}
    both = {"kd": {"weight": 0.9}, "at": {"weight": 1.0}}
    found = hyperparameters(replace(made_up(), method=list(both)), {**config, "method": both})
    assert found == {**common, "method": "kd + at", "kd.weight": 0.9, "at.weight": 1.0}


# -------------------------------------------------------------------------------------------------- page and figures


def test_curves_leave_out_epochs_without_validation() -> None:
    results = made_up()
    for stage in results.stages.values():
        assert stage.record is not None
        del stage.record.history[1]["val/accuracy"]
    assert [series.x for series in curves(results).series] == [(1, 3)] * 3
    assert [series.x for series in losses(results).series] == [(1, 2, 3)] * 3


def test_disagreements_are_those_of_teacher_and_student_surest_first() -> None:
    results, (images, targets, logits) = made_up(), drawn()
    said = {stage: logits[stage].softmax(1).max(1) for stage in ("teacher", "student")}
    differ = (said["teacher"].indices != said["student"].indices).nonzero().flatten().tolist()
    assert differ
    found = results.validation.disagreements
    assert found is not None
    figure = disagreements(results, found)
    assert figure.get_suptitle().startswith(f"{len(differ)} of {COUNT} images")
    shown: list[Any] = [axes for axes in figure.axes if axes.images]
    assert len(shown) == min(18, len(differ))
    sureness = {i: float(said["teacher"].values[i] * said["student"].values[i]) for i in differ}
    expected = sorted(differ, key=lambda i: -sureness[i])[: len(shown)]
    pictures = [axes.images[0].get_array().tolist() for axes in shown]
    assert pictures == [images[i, 0].tolist() for i in expected]
    for axes, i in zip(shown, expected, strict=True):
        assert axes.get_title(loc="left") == f"true: {NAMES[int(targets[i])]}"


def test_long_names_of_classes_leave_the_pictures_their_size() -> None:
    results = made_up(class_names=[f"{i}, a class with a name of many words" for i in range(CLASSES)])
    assert results.validation.disagreements is not None
    figure = disagreements(results, results.validation.disagreements)
    figure.canvas.draw()
    for axes in (axes for axes in figure.axes if axes.images):
        box = axes.get_window_extent()
        assert box.height > figure.dpi  # an inch
        for text in (axes.title, *axes.texts):
            assert text.get_window_extent().x1 < box.x0 + figure.bbox.width / 6


def test_two_that_agree_everywhere_still_give_a_figure() -> None:
    _, targets, logits = drawn()
    same = scored({**logits, "student": logits["teacher"]}, targets)
    (drawing,) = (each for each in report_of(replace(made_up(), validation=same), CONFIG).drawings if each.wide)
    assert drawing.figure.get_suptitle().startswith(f"0 of {COUNT}")
    assert drawing.seen == "They agree everywhere."
