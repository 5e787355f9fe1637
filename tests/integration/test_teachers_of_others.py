"""Teachers that were made for something else: whole runs, from preflight to evaluate."""

import html
import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from distill.cli import CONFIGS
from distill.errors import SettingError
from distill.experiment.evaluate import evaluate_run
from distill.experiment.pipeline import run
from distill.models.cnn import cnn

QUICK = (
    "trainer=cpu", "logger=none", "trainer.max_epochs=1", "teacher.max_epochs=1", "data.batch_size=8",
    "model@teacher=cnn4", "model@student=cnn4", "trainer.precision=32-true",
)  # fmt: skip
HERE = "tests.integration.test_teachers_of_others"


class Soft(nn.Module):
    """Ends in softmax."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.net = cnn(num_classes=num_classes, in_channels=in_channels, width=4)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits.softmax(1)


def trained(images: Path, directory: Path, *overrides: str) -> Path:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["data=arrays", f"data.path={images}", *QUICK, *overrides])
    run(config, directory)
    return directory


def test_a_teacher_of_other_classes_and_channels_teaches_its_features(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(cnn(num_classes=7, in_channels=3, width=4, norm="none").state_dict(), tmp_path / "teacher.pt")
    given = (f"teacher.checkpoint={tmp_path / 'teacher.pt'}", "teacher.channels=3")
    with pytest.raises(SettingError, match=r"7 outputs.*4 classes.*teacher\.classes=.*teacher\.head=new"):
        trained(images, tmp_path / "refused", *given, "preflight=only")
    directory = trained(images, tmp_path / "run", *given, "method=[fitnet]")
    said = capsys.readouterr().out
    assert "its features alone are of use" in said
    assert "grey images as RGB" in said
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["teacher"]["accuracy"] is None
    assert summary["teacher"]["parameters"] > 0
    assert (summary["student"]["agreement"], summary["student"]["kl"]) == (None, None)
    assert summary["student"]["accuracy"] >= 0
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        scores = evaluate_run(compose("evaluate", [f"run={directory}", "trainer=cpu"]))
    assert set(scores) == {"baseline", "student"}
    assert scores["student"]["accuracy"] == summary["student"]["accuracy"]


def test_outputs_are_chosen_and_a_new_head_is_trained_first(images: Path, tmp_path: Path) -> None:
    torch.save(cnn(num_classes=7, in_channels=1, width=4, norm="none").state_dict(), tmp_path / "teacher.pt")
    given = (f"teacher.checkpoint={tmp_path / 'teacher.pt'}", "baseline=false")
    chosen = trained(images, tmp_path / "chosen", *given, "teacher.classes=[6,0,2,1]")
    assert not (chosen / "teacher.safetensors").exists()
    assert json.loads((chosen / "teacher.json").read_text())["preprocessing"]["classes"] == [6, 0, 2, 1]
    renewed = trained(images, tmp_path / "renewed", *given, "teacher.head=new")
    assert (renewed / "teacher.safetensors").exists()
    for directory in (chosen, renewed):
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            scores = evaluate_run(compose("evaluate", [f"run={directory}", "trainer=cpu"]))
        expected = json.loads((directory / "summary.json").read_text())["teacher"]["accuracy"]
        assert scores["teacher"]["accuracy"] == expected


def test_probabilities_are_told_before_and_after_training_and_at_the_end(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = trained(
        images, tmp_path / "run", "model@teacher=custom", f"teacher.target={HERE}.Soft", "baseline=false"
    )
    summary = json.loads((directory / "summary.json").read_text())
    (warning,) = [text for text in summary["warnings"] if "probabilities already" in text]
    assert "teacher's outputs" in warning
    assert warning[:50] in (directory / "report.html").read_text().replace("&#39;", "'")
    assert f"WARNING: {warning}" in capsys.readouterr().out


def test_a_run_says_which_layers_it_taps_and_how_they_are_paired(images: Path, tmp_path: Path) -> None:
    directory = trained(images, tmp_path / "run", "preflight=only", "teacher.size=16", "method=[kd,at]")
    said = (directory / "train.log").read_text()
    assert "layers    at: layer1 4 x 8 x 8 <-> layer1 4 x 16 x 16, layer2 8 x 4 x 4 <-> layer2 8 x 8 x 8, " in said


def test_it_says_so_without_a_preflight_too_in_the_log_and_the_report(images: Path, tmp_path: Path) -> None:
    settings = ("model@teacher=cnn4", "teacher.size=16", "method=[kd,at]", "baseline=false")
    paired = "at: layer1 4 x 8 x 8 <-> layer1 4 x 16 x 16, layer2 8 x 4 x 4 <-> layer2 8 x 8 x 8"
    directory = trained(images, tmp_path / "run", *settings, "preflight=false")
    assert paired in (directory / "train.log").read_text()
    assert paired in html.unescape((directory / "report.html").read_text())
    with pytest.raises(SettingError, match=r"^method\.at\.student_layers=\[layr2\]: no layer matches 'layr2'"):
        trained(images, tmp_path / "other", *settings, "preflight=false", "method.at.student_layers=[layr2]")
    assert not (tmp_path / "other/checkpoints").exists()
