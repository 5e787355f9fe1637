"""The main job on a CUDA device: in each precision, from kept answers, compiled, profiled, and twice."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.training.profiling import PARTS

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

ON_A_GPU = ("trainer=gpu", "trainer.max_epochs=2", "baseline=false")


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("trainer.precision=32-true", "trainer.tf32=false"),
        ("trainer.precision=16-mixed",),
        ("teaching=cached", "teaching.epochs=1"),
        ("teaching=cached", "teaching.top_k=5", "method.kd.temperature=1", "teaching.epochs=1"),
        ("trainer.compile=true",),
        ("method=crd",),
        ("method=[kd,fitnet]",),
        ("model@student=resnet8x4", "data.augment.trivial_augment=true", "data.augment.mixup=0.2"),
    ],
    ids=lambda settings: " ".join(settings) or "defaults",
)
def test_a_run(settings: tuple[str, ...], command: Any, finished: Any, tmp_path: Path) -> None:
    kept = [f"teaching.dir={tmp_path / 'answers'}"] if "teaching=cached" in settings else []
    teacher = f"teacher.checkpoint={finished.directory}/teacher.safetensors"
    command("train.py", teacher, *ON_A_GPU, *settings, *kept, f"hydra.run.dir={tmp_path / 'run'}")
    said = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert said["device"] == torch.cuda.get_device_name()
    assert 0 <= said["student"]["accuracy"] <= 1
    assert said["student"]["images_per_second"] > 0


def test_where_the_time_goes(command: Any, tmp_path: Path) -> None:
    command("train.py", *ON_A_GPU, "teacher.max_epochs=1", "profile=true", f"hydra.run.dir={tmp_path / 'run'}")
    said = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert tuple(said["milliseconds"]) == PARTS
    assert (tmp_path / "run" / "trace.json").is_file()


def test_a_seed_gives_the_same_weights_again(command: Any, weights: Any, tmp_path: Path) -> None:
    for name in ("one", "other"):
        settings = (*ON_A_GPU, "teacher.max_epochs=1", "trainer.deterministic=true")
        command("train.py", *settings, f"hydra.run.dir={tmp_path / name}")
    one, other = (weights(tmp_path / name / "student.safetensors") for name in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)
