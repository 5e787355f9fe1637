"""A run on images with several labels each, and what every command makes of it."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from PIL import Image
from sklearn.datasets import load_digits

from distill.cli import CONFIGS
from distill.config.run_config import parse
from distill.errors import SettingError
from distill.experiment.evaluate import evaluate_run
from distill.experiment.export import export_run
from distill.experiment.pipeline import prepare, run
from distill.experiment.predict import predict_files
from distill.report.comparison import rows
from distill.report.groups import find_runs, grouped

NAMES = ["even", "large", "prime", "round"]
SETTINGS = ["data=arrays", "model@teacher=cnn4", "model@student=cnn4", "trainer=cpu", "trainer.precision=32-true",
            "trainer.max_epochs=2", "teacher.max_epochs=3", "trainer.progress=false"]  # fmt: skip


def composed(name: str, *overrides: str) -> DictConfig:
    with hydra_ready():
        return compose(name, overrides=list(overrides))


@contextmanager
def hydra_ready() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits that are even, large, prime, round: several at once, or none."""
    bunch = load_digits()
    images, digit = (bunch.images * (255 / 16)).astype(np.uint8), bunch.target
    labels = np.stack([digit % 2 == 0, digit > 4, np.isin(digit, [2, 3, 5, 7]), np.isin(digit, [0, 6, 8, 9])], 1)
    file = tmp_path_factory.mktemp("data") / "several.npz"
    np.savez(file, class_names=NAMES, train_images=images[:400], train_labels=labels[:400].astype(np.uint8),
             val_images=images[400:600], val_labels=labels[400:600].astype(np.uint8))  # fmt: skip
    return file


@pytest.fixture(scope="module")
def finished(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "live"
    directory.mkdir()
    score = run(composed("train", *SETTINGS, f"data.path={labelled}", "keep=best"), directory)
    assert score == json.loads((directory / "summary.json").read_text())["student"]["map"]
    return directory


def test_summary_and_report(finished: Path) -> None:
    said = json.loads((finished / "summary.json").read_text())
    assert (said["task"], said["metric"], said["higher_is_better"]) == ("multilabel", "map", True)
    for stage in ("teacher", "baseline", "student"):
        assert said[stage]["score"] == said[stage]["map"] > 0.4
        assert {"f1_micro", "f1_macro", "exact_match", "ece"} <= said[stage].keys()
    assert said["gain_low"] <= said["gain"] <= said["gain_high"]
    assert said["gain"] == pytest.approx(said["student"]["map"] - said["baseline"]["map"])
    history = json.loads((finished / "checkpoints" / "student" / "record.json").read_text())["history"]
    kept = history[said["student"]["kept_epoch"] - 1]
    assert kept["val/map"] == pytest.approx(said["student"]["map"], abs=1e-6) == max(e["val/map"] for e in history)
    assert (finished / "figures" / "thresholds_student.png").stat().st_size > 5000
    assert "sign-flip test" in (finished / "report.html").read_text()


def test_evaluate_by_label_and_by_image(finished: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(finished, tmp_path / "run")
    before = json.loads((finished / "summary.json").read_text())
    said = evaluate_run(composed("evaluate", f"run={directory}", f"predictions={tmp_path}/p.csv"))
    assert {name: said[name]["map"] for name in said} == {name: before[name]["map"] for name in said}
    (file,) = directory.glob("evaluation-*.json")
    assert set(json.loads(file.read_text())["classes"]) == set(NAMES)
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert len(rows) == 200
    assert set(rows[0]) == {"name", "target", "predicted", "teacher", *NAMES}
    for row in rows:
        assert row["predicted"] == ";".join(name for name in NAMES if float(row[name]) >= 0.5)


def test_predict_and_the_exports_own_script_name_the_same_labels(finished: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(finished, tmp_path / "run")
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(load_digits().images[600:608]):
        Image.fromarray((image * (255 / 16)).astype(np.uint8)).save(folder / f"{i}.png")
    predict_files(composed("predict", f"run={directory}", f"input={folder}", f"output={tmp_path}/out.csv"))
    named = {
        Path(row["file"]).name: row["labels"] for row in csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    }
    assert len(named) == 8
    exported = export_run(composed("export", f"run={directory}", "format=onnx"))
    script = exported.parent / "predict.py"
    done = subprocess.run(
        [sys.executable, str(script), *map(str, sorted(folder.iterdir()))], capture_output=True, text=True, check=True
    )
    told = {}
    for line in done.stdout.splitlines():
        file, labels, *_ = line.split("\t")
        told[Path(file).name] = labels
    assert told == named


def test_a_cache_gives_what_the_live_teacher_gives(labelled: Path, finished: Path, tmp_path: Path) -> None:
    given = [*SETTINGS, f"data.path={labelled}", "keep=best", "teaching=cached", f"teaching.dir={tmp_path}/cache"]
    directory = tmp_path / "cached"
    directory.mkdir()
    run(composed("train", *given), directory)
    assert (directory / "student.safetensors").read_bytes() == (finished / "student.safetensors").read_bytes()
    prepared = prepare(parse(composed("train", *given, "teaching.top_k=2")), tmp_path)
    with pytest.raises(SettingError, match="top_k"):
        prepared.teacher(prepared.network("teacher"))


def test_compare_tells_the_metric(finished: Path) -> None:
    (row,) = rows(grouped(find_runs([finished])))
    said = json.loads((finished / "summary.json").read_text())
    assert row["student"] == f"{100 * said['student']['map']:.1f}"


def test_methods_of_exclusive_classes_are_refused_before_any_work(labelled: Path, tmp_path: Path) -> None:
    config = composed("train", *SETTINGS, f"data.path={labelled}", "method=dkd")
    with pytest.raises(SettingError, match=r"^method\.dkd: needs exclusive classes"):
        prepare(parse(config), tmp_path)
