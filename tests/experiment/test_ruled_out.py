"""Teachers that rule out classes by logits of -inf; and those whose answers are of no use."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor, nn

from distill.cli import CONFIGS
from distill.errors import SettingError
from distill.experiment.pipeline import run

QUICK = (
    "data=arrays", "trainer=cpu", "logger=none", "baseline=false", "trainer.max_epochs=1", "data.batch_size=8",
    "model@student=cnn4", "teacher.mean=[0.0]", "teacher.std=[1.0]", "model@teacher=custom",
    "teacher.target=test_ruled_out.Masking", "teacher.max_epochs=0",
)  # fmt: skip


class Masking(nn.Module):
    """Names the class by the brightness, and rules out the class two after it; or says what is given instead."""

    def __init__(self, num_classes: int, instead: float | None = None, classes: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 1, 1)
        self.levels = nn.Parameter((torch.arange(num_classes) + 0.5) / num_classes)
        self.instead, self.classes = -torch.inf if instead is None else instead, classes

    def forward(self, images: Tensor) -> Tensor:
        logits = -10 * (images.mean((1, 2, 3))[:, None] - self.levels) ** 2
        distance = (torch.arange(logits.shape[1]) - logits.argmax(1)[:, None] - 2) % logits.shape[1]
        return logits.masked_fill(distance < self.classes, self.instead)


def config(images: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(
            "train", overrides=[*QUICK, f"data.path={images}", "teacher.mean=[0.0]", "teacher.std=[1.0]", *overrides]
        )


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("method=[kd,ctkd,dkd]", "trainer.precision=bf16-mixed"),
        ("teaching=cached", "teaching.top_k=3", "teaching.temperatures=[4.0]", "teaching.dtype=float16"),
    ],
    ids=["live", "several", "kept"],
)
def test_a_teacher_may_rule_out_classes(images: Path, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    kept = [f"teaching.dir={tmp_path / 'cache'}"] if "teaching=cached" in overrides else []
    run(config(images, *overrides, *kept), tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["teacher"]["accuracy"] == 1
    assert summary["student"]["kl"] > 0
    assert not any("probabilities" in warning for warning in summary["warnings"])


@pytest.mark.parametrize(
    ("method", "at_fault"),
    [("logit_mse", "logit_mse"), ("kd_standardized", "kd"), ("[kd,reverse_kd]", "reverse_kd")],
)
def test_a_method_that_cannot_take_them_is_named_and_the_advice_works(
    images: Path, tmp_path: Path, method: str, at_fault: str
) -> None:
    with pytest.raises(SettingError) as error:
        run(config(images, f"method={method}", "preflight=only"), tmp_path / "refused")
    assert str(error.value) == (
        f"method.{at_fault}: the teacher answers -inf for some classes, and {at_fault} is not finite then: "
        "set standardize_logits=false, or use a method that takes it, such as method=[kd] or method=[dkd]"
    )
    advised = ["method=kd_standardized", "method.kd.standardize_logits=false"] if at_fault == "kd" else ["method=[dkd]"]
    run(config(images, *advised, "preflight=only"), tmp_path / "advised")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{instead: nan}", "answers with NaN"),
        ("{instead: inf}", "answers with +inf"),
        ("{classes: 4}", "answers with -inf for every class"),
    ],
)
def test_answers_of_no_use_are_refused_by_name(images: Path, tmp_path: Path, arguments: str, said: str) -> None:
    with pytest.raises(SettingError, match="teacher: Masking") as error:
        run(config(images, f"teacher.arguments={arguments}"), tmp_path)
    assert said in str(error.value)
