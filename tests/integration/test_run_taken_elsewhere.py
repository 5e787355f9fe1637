"""A finished run needs its directory alone: moved, without its data, its teacher's weights and the folder of then."""

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image
from safetensors.torch import save_file

from distill.cli import CONFIGS
from distill.errors import SettingError
from distill.experiment import pipeline
from distill.experiment.evaluate import evaluate_run
from distill.experiment.export import export_run
from distill.experiment.finished import load_run
from distill.log import OURS
from distill.models.cnn import cnn

CODE = """
import torch

def small(num_classes, in_channels):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16 * 16 * in_channels, num_classes))
"""

MINE = "trust=nets_of_mine"


def composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(command, list(overrides))


def images(root: Path) -> None:
    for split in ("train", "val"):
        for number, name in enumerate(("a", "b", "c")):
            (root / split / name).mkdir(parents=True)
            for i in range(4):
                pixels = np.random.default_rng((number, i)).integers(0, 100, (16, 16, 3)).astype(np.uint8)
                pixels[5 * number : 5 * number + 5] += 100
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run was trained: with data, a teacher's weights, and a student of the user's own code."""
    place = tmp_path_factory.mktemp("home")
    images(place / "data")
    (place / "nets_of_mine.py").write_text(CODE)
    teacher = cnn(num_classes=3, in_channels=3, width=24)
    save_file({name: t.contiguous() for name, t in teacher.state_dict().items()}, place / "teacher.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.syspath_prepend(place)
        pipeline.run(
            composed(
                "train", "data=image_folder", "data.root=data", "teacher.checkpoint=teacher.safetensors",
                "model@student=custom", "student.target=nets_of_mine.small", "trainer=cpu", "trainer.max_epochs=1",
                "preflight=false", "logger=none",
            ),
            place / "run",
        )  # fmt: skip
    for name in OURS:  # their files are to move
        for handler in logging.getLogger(name).handlers:
            handler.close()
        logging.getLogger(name).handlers.clear()
    return place


@pytest.fixture
def elsewhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The run's directory in another place and nothing else of it; the process works there."""
    shutil.copytree(home / "run", tmp_path / "moved")
    home.rename(home.with_name("gone"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(home)])
    monkeypatch.delitem(sys.modules, "nets_of_mine", raising=False)
    yield tmp_path
    home.with_name("gone").rename(home)


@pytest.fixture
def with_code(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, with the student's code at hand."""
    (elsewhere / "code").mkdir()
    (elsewhere / "code" / "nets_of_mine.py").write_text(CODE)
    monkeypatch.syspath_prepend(elsewhere / "code")
    return elsewhere


def test_it_is_exported(with_code: Path) -> None:
    target = export_run(composed("export", "run=moved", MINE, "format=pt2"))
    program = torch.export.load(target).module()
    student = load_run(Path("moved"), "nets_of_mine").network("student").eval()
    pictures = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(program(pictures), student(pictures).logits)


def test_other_data_scores_what_is_there_and_says_what_is_not(
    with_code: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images(with_code / "others")
    logging.getLogger("distill").propagate = True
    said = evaluate_run(composed("evaluate", "run=moved", MINE, "data=image_folder", "data.root=others"))
    assert set(said) == {"baseline", "student"}
    assert said["student"]["accuracy"] == json.loads(Path("moved/summary.json").read_text())["student"]["accuracy"]
    assert said["student"]["agreement"] is None
    assert "the teacher is left out: " in caplog.text
    assert "teacher.safetensors: no such file" in caplog.text


def test_the_data_that_is_gone_is_asked_for(with_code: Path) -> None:
    with pytest.raises(SettingError, match=r"data: what the run was trained on cannot .* data=image_folder data.root="):
        evaluate_run(composed("evaluate", "run=moved", MINE))


def test_code_that_came_with_the_directory_is_not_run_untrusted(with_code: Path) -> None:
    with pytest.raises(SettingError, match=r"target=nets_of_mine\.small: is not run, .* add trust=nets_of_mine$"):
        export_run(composed("export", "run=moved"))


def test_code_that_is_not_there_is_named(elsewhere: Path) -> None:
    with pytest.raises(SettingError, match=r"student\.target='nets_of_mine\.small': no module .* PYTHONPATH"):
        export_run(composed("export", "run=moved", MINE))


def test_what_is_kept(home: Path) -> None:
    student, teacher = (json.loads((home / "run" / f"{name}.json").read_text()) for name in ("student", "teacher"))
    assert student["classes"] == ["a", "b", "c"]
    assert student["images"] == {"channels": 3, "height": 16, "width": 16, "resize": 16, "letterbox": False}
    assert student["network"]["target"] == "nets_of_mine.small"
    assert student["scores"] == {
        name: json.loads((home / "run" / "summary.json").read_text())["student"][name] for name in student["scores"]
    }
    assert Path(teacher["weights"]) == home / "teacher.safetensors"
