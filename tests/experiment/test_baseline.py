"""Which runs share a baseline."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from distill.cli import CONFIGS
from distill.config.flat import flat
from distill.experiment.baseline import alone, take_over_baseline
from distill.experiment.directory import save_config


def settings(*overrides: str) -> dict[str, object]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return alone(flat(compose("train", list(overrides))))


@pytest.mark.parametrize("override", ["method=at", "method.kd.weight=0.5", "teaching=ema", "model@teacher=resnet56",
                                      "chain=[resnet20]", "teacher.max_epochs=3", "logger=none", "data.workers=2",
                                      "trainer.progress=true", "profile=true"])  # fmt: skip
def test_what_a_student_alone_knows_nothing_of(override: str) -> None:
    assert settings(override) == settings()


@pytest.mark.parametrize("override", ["seed=1", "optimizer.lr=0.5", "scheduler=constant", "model@student=mlp",
                                      "data.batch_size=8", "trainer.max_epochs=3", "trainer.precision=64-true",
                                      "teaching.epochs=2", "student.checkpoint=x", "+callbacks.e._target_=x",
                                      "trainer.gradient_clip_val=1", "data.augment.flip=true"])  # fmt: skip
def test_what_it_depends_on(override: str) -> None:
    assert settings(override) != settings()


def test_only_a_whole_baseline_is_taken_over(tmp_path: Path) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        ours, theirs = compose("train", ["method=at"]), compose("train", ["method=kd"])
        other_seed = compose("train", ["seed=1"])
    job, other = tmp_path / "1", tmp_path / "0"
    assert take_over_baseline(ours, job, tmp_path) is None
    save_config(theirs, other)
    (other / "baseline.safetensors").write_bytes(b"weights")
    assert take_over_baseline(ours, job, tmp_path) is None  # it is still at work
    (other / "checkpoints/baseline").mkdir(parents=True)
    (other / "checkpoints/baseline/record.json").write_text("{}")
    assert take_over_baseline(other_seed, job, tmp_path) is None
    assert take_over_baseline(ours, job, tmp_path) == other
    assert (job / "baseline.safetensors").read_bytes() == b"weights"
    assert (job / "checkpoints/baseline/record.json").read_text() == "{}"
    assert take_over_baseline(ours, job, tmp_path) is None  # it has one
