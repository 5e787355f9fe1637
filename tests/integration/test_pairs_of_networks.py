"""Pairs of networks from different places, from configuration to the student's file."""

import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from distill.cli import CONFIGS
from distill.experiment.pipeline import run
from distill.models.weights_file import read_metadata

QUICK = ("trainer=cpu", "logger=none", "baseline=false", "trainer.max_epochs=1", "teacher.max_epochs=1")
OWN = ("teacher.mean=[0.498039,0.498039,0.498039]", "teacher.std=[0.501961,0.501961,0.501961]")


class Pretrained(nn.Module):
    """Knows the classes by the colour that is strongest; takes 48 x 48 images of values from -1 to 1."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, num_classes)
        nn.init.eye_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @classmethod
    def from_pretrained(cls, num_classes: int) -> "Pretrained":
        return cls(num_classes)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        assert images.shape[-2:] == (48, 48)
        assert images.abs().max() <= 1 + 1e-4
        return {"logits": self.head(20 * images.mean((2, 3)))}


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mostly red, mostly green and mostly blue images of 32 x 32."""
    file = tmp_path_factory.mktemp("colours") / "colours.npz"
    labels = np.arange(24) % 3
    pixels = np.random.default_rng(0).integers(0, 150, (24, 32, 32, 3))
    pixels[np.arange(24), :, :, labels] += 100
    images = pixels.astype(np.uint8)
    np.savez(file, train_images=images, train_labels=labels, val_images=images, val_labels=labels)
    return file


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(
            ("model@teacher=resnet56", "model@student=resnet20", "method=[kd,at]", "data.augment.crop_padding=4"),
            id="resnet56 -> resnet20",
        ),
        pytest.param(
            (
                "model@teacher=custom", "teacher.target=test_pairs_of_networks.Pretrained.from_pretrained",
                "teacher.size=48", *OWN, "teacher.max_epochs=0",
                "model@student=torchvision", "student.name=mobilenet_v3_small",
            ),
            id="pretrained, by dotted path -> torchvision",
        ),
        pytest.param(
            (
                "model@teacher=timm", "teacher.name=vit_tiny_patch16_224",
                "teacher.arguments={img_size: 32, patch_size: 16, depth: 2}",
                "model@student=timm", "student.name=mobilenetv3_small_050", "method=[kd,rkd]",
            ),
            id="timm -> timm",
        ),
    ],
)  # fmt: skip
def test_any_teacher_to_any_student(colours: Path, tmp_path: Path, pair: tuple[str, ...]) -> None:
    overrides = ["data=arrays", f"data.path={colours}", "data.batch_size=12", *QUICK, *pair]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        chosen = compose("train", overrides=overrides)
    accuracy = run(chosen, tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["student"]["accuracy"] == accuracy
    assert summary["student"]["name"] == read_metadata(tmp_path / "student.safetensors")["name"]
    assert all(np.isfinite(summary["student"][name]) for name in ("kl", "ece", "agreement", "images_per_second"))
    trained = "teacher.max_epochs=0" not in pair
    assert (tmp_path / "teacher.safetensors").is_file() == trained
    if not trained:
        assert summary["teacher"]["accuracy"] == 1.0
        assert "scores 100.0% on 24 validation images" in (tmp_path / "train.log").read_text()
