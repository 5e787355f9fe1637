"""From a folder of images as people have them to an exported student that names the class of a raw file."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from distill.cli import CONFIGS
from distill.data.augment.color import to_float
from distill.data.image_folder import image_folder
from distill.errors import SettingError
from distill.experiment import pipeline
from distill.experiment.evaluate import evaluate_run
from distill.experiment.export import export_run
from distill.experiment.finished import load_run
from distill.experiment.predict import predict_files

CLASSES = ("bottom", "middle", "top")
SIDEWAYS = 6  # the EXIF orientation of a picture that must be turned to the right


def composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(command, list(overrides))


def picture(number: int, seed: int) -> Image.Image:
    """A bright bar at one of three heights, in a picture of some size."""
    draw = np.random.default_rng((number, seed))
    height, width = draw.integers(30, 90, 2)
    pixels = draw.integers(0, 120, (height, width, 3)).astype(np.uint8)
    third = height // 3
    pixels[(2 - number) * third : (3 - number) * third] += 100
    return Image.fromarray(pixels)


def save(image: Image.Image, kind: int, path: Path) -> None:
    """In one of the ways in which pictures come."""
    match kind % 6:
        case 0:
            image.save(path.with_suffix(".jpg"), quality=95)
        case 1:
            exif = Image.Exif()
            exif[0x0112] = SIDEWAYS
            image.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), quality=95, exif=exif)
        case 2:
            image.convert("L").save(path.with_suffix(".png"))
        case 3:
            image.putalpha(image.convert("L").point(lambda level: 255 - level))
            image.save(path.with_suffix(".png"))
        case 4:
            Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path.with_suffix(".png"))
        case 5:
            image.quantize(64).save(path.with_suffix(".png"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of pictures of all kinds and sizes, and a run whose networks want other sizes than its images."""
    place = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 24), ("val", 18)):
        for number, name in enumerate(CLASSES):
            (place / "data" / split / name).mkdir(parents=True)
            for i in range(count):
                save(picture(number, i + 1000 * len(split)), i, place / "data" / split / name / str(i))
    pipeline.run(
        composed(
            "train", "data=image_folder", f"data.root={place}/data", "data.image_size=24", "data.resize=28",
            "data.workers=0", "model@student=mlp", "student.size=20", "model@teacher=mlp", "teacher.size=16",
            "trainer=cpu", "trainer.precision=32-true",
            "teacher.max_epochs=2", "trainer.max_epochs=6", "baseline=false", "preflight=false",
            "logger=none", "data.batch_size=8",
        ),
        place / "run",
    )  # fmt: skip
    return place


@pytest.fixture(scope="module")
def logits(home: Path) -> dict[str, torch.Tensor]:
    """Of the student, for each file of the validation split, as `evaluate` reads them."""
    source = image_folder(str(home / "data"), image_size=24, resize=28)
    student = load_run(home / "run").network("student").eval()
    with torch.no_grad():
        answers = student(to_float(source.val.show(torch.arange(len(source.val))))).logits
    return {source.val.source.name(i): answers[i] for i in range(len(answers))}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def onnx(home: Path) -> Path:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    return export_run(composed("export", f"run={home}/run", "format=onnx", f"output={home}/out/small.onnx"))


def test_predict_py_names_the_classes_that_the_run_names(
    onnx: Path, logits: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('predict.py needs no torch')")
    nothing, done = (
        subprocess.run(
            [sys.executable, onnx.with_name("predict.py"), *files], cwd=tmp_path, capture_output=True, text=True,
            timeout=300, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=False,
        )
        for files in ([], logits)
    )  # fmt: skip
    assert "`python predict.py FILE ...` names classes" in nothing.stderr
    assert (done.returncode, done.stderr) == (0, "")
    said = [line.split("\t") for line in done.stdout.splitlines()]
    assert [file for file, *_ in said] == list(logits)
    assert len({name for _, name, _ in said}) == 3
    for file, name, share in said:
        expected = logits[file].softmax(0)
        assert name == CLASSES[expected.argmax()], file
        assert float(share) == pytest.approx(float(expected.max()), abs=5e-3), file


def test_the_way_to_the_input_is_told_everywhere(onnx: Path, home: Path) -> None:
    import onnxruntime

    way = json.loads(onnx.with_name("preprocess.json").read_text())
    assert way["resize"] == {"shorter_side": 28, "interpolation": "bilinear", "antialias": True}
    assert way["crop"] == {"position": "centre", "height": 24, "width": 24}
    assert (way["orientation"], way["colour"], way["size"], way["classes"]) == ("as EXIF says", "RGB", 20, [*CLASSES])
    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    stored = session.get_modelmeta().custom_metadata_map
    assert {name: json.loads(text) for name, text in stored.items()} == way
    assert (session.get_inputs()[0].shape, session.get_outputs()[0].shape) == (["batch", 3, 24, 24], ["batch", 3])
    assert len(onnx.with_name("predict.py").read_text().splitlines()) < 40
    extra = {"preprocess.json": ""}
    program = export_run(composed("export", f"run={home}/run", "format=pt2", f"output={home}/out/small.pt2"))
    torch.export.load(program, extra_files=extra)
    assert json.loads(extra["preprocess.json"]) == way


def test_files_of_others_stay(home: Path, tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "preprocess.json").write_text("{}")
    export_run(composed("export", f"run={home}/run", "format=safetensors", f"output={tmp_path}/x.safetensors"))
    assert (tmp_path / "preprocess.json").read_text() == "{}"


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_evaluate_by_class_and_by_image(home: Path, logits: dict[str, torch.Tensor], tmp_path: Path) -> None:
    table = tmp_path / "images.csv"
    scores = evaluate_run(composed("evaluate", f"run={home}/run", f"predictions={table}"))
    found = rows(table)
    assert [row["name"] for row in found] == list(logits)
    for row in found:
        share, best = logits[row["name"]].softmax(0).max(0)
        assert (row["target"], row["predicted"]) == (Path(row["name"]).parent.name, CLASSES[best])
        assert float(row["probability"]) == pytest.approx(float(share), abs=1e-5)
    written = json.loads((home / "run" / "evaluation-data.json").read_text())
    assert written["precision"] == "32-true"
    for name in CLASSES:
        of_class = [row for row in found if row["target"] == name]
        right = sum(row["predicted"] == name for row in of_class) / len(of_class)
        assert (written["classes"][name]["count"], written["classes"][name]["student"]) == (18, right)
    agreed = sum(row["teacher"] == row["predicted"] for row in found) / len(found)
    assert scores["student"]["agreement"] == pytest.approx(agreed)


def test_evaluate_in_another_precision(home: Path, tmp_path: Path) -> None:
    in_bfloat16, double, as_trained = (
        evaluate_run(composed("evaluate", f"run={home}/run", f"precision={name}"))["student"]["kl"]
        for name in ("bf16-mixed", "64-true", "run")
    )
    kept = load_run(home / "run").student.scores["kl"]
    assert as_trained == kept
    assert double == pytest.approx(kept, rel=1e-4)
    assert in_bfloat16 not in (kept, double)
    with pytest.raises(SettingError, match="precision='half': must be one of run, 32-true, bf16-mixed, 16-mixed"):
        evaluate_run(composed("evaluate", f"run={home}/run", "precision=half"))


def test_predict_a_folder(home: Path, logits: dict[str, torch.Tensor], tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "some"
    shutil.copytree(home / "data" / "val", folder / "deep")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    predict_files(composed("predict", f"run={home}/run", f"input={folder}", f"output={tmp_path}/out.csv"))
    said = capsys.readouterr()
    assert said.out == f"{len(logits) + 1} images, 1 could not be read (see the column error)\n"
    assert "1 .txt" in said.err
    found = {row["file"]: row for row in rows(tmp_path / "out.csv")}
    assert len(found) == len(logits) + 1
    assert "UnidentifiedImageError" in found[f"{folder}/broken.jpg"]["error"]
    assert found[f"{folder}/broken.jpg"]["class"] == ""
    for file, expected in logits.items():
        row = found[file.replace(f"{home}/data/val", f"{folder}/deep")]
        shares, best = expected.softmax(0).topk(3)
        assert [row["class"], row["class2"], row["class3"]] == [CLASSES[i] for i in best]
        assert float(row["probability"]) == pytest.approx(float(shares[0]), abs=1e-5)
        assert row["error"] == ""


def test_predict_a_file_and_arrays(home: Path, logits: dict[str, torch.Tensor], tmp_path: Path, command: Any) -> None:
    file, expected = next(iter(logits.items()))
    done = command("scripts/predict.py", f"run={home}/run", f"input={file}")
    assert done.stderr == "1 image\n"
    header, line = done.stdout.splitlines()
    assert header == "file,class,probability,class2,probability2,class3,probability3,error"
    assert line.startswith(f"{file},{CLASSES[expected.argmax()]},")
    source = image_folder(str(home / "data"), image_size=24, resize=28)
    images = source.val.show(torch.arange(5)).permute(0, 2, 3, 1).numpy()
    np.save(tmp_path / "five.npy", images)
    predict_files(composed("predict", f"run={home}/run", f"input={tmp_path}/five.npy", f"output={tmp_path}/five.csv"))
    assert [row["file"] for row in rows(tmp_path / "five.csv")] == [f"five.npy[{i}]" for i in range(5)]


def test_an_input_that_is_missing_or_unreadable_is_one_line(home: Path, tmp_path: Path, command: Any) -> None:
    done = command("scripts/predict.py", f"run={home}/run", f"input={tmp_path}/none.jpg", status=2)
    advice = "no such file or folder; give an image file, or a folder of images"
    assert done.stderr == f"error: input={tmp_path}/none.jpg: {advice}\n"
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(SettingError, match=r"not one of 1 images can be read, e\.g\. .*bad\.png \(Unidentified"):
        predict_files(composed("predict", f"run={home}/run", f"input={tmp_path}", f"output={tmp_path}/x.csv"))
    assert len(rows(tmp_path / "x.csv")) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingError, match=r"input=.*empty: holds no images; known are \.jpg, "):
        predict_files(composed("predict", f"run={home}/run", f"input={tmp_path}/empty"))
