"""Runs on masks and on boxes that need no file, and what becomes of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from distill.cli import CONFIGS
from distill.experiment.pipeline import run

TARGETS = {"masks": ("segmentation", "miou"), "boxes": ("detection", "map")}
TINY = (
    "data=digit_scenes", "data.train=24", "data.val=8", "teacher.width=6", "student.width=4", "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1", "teacher.max_epochs=1", "trainer=cpu", "trainer.precision=32-true",
    "logger=none",
)  # fmt: skip


@pytest.fixture(scope="module")
def dense_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What `python train.py data=digit_scenes data.target=...` does, for an epoch of a few scenes."""
    folder = tmp_path_factory.mktemp("dense")
    for target in TARGETS:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("train", [*TINY, f"data.target={target}"])
        run(config, folder / target)
    return {target: folder / target for target in TARGETS}


@pytest.mark.parametrize("target", TARGETS)
def test_scenes_train_teacher_baseline_and_student_as_they_come(dense_runs: dict[str, Path], target: str) -> None:
    summary: dict[str, Any] = json.loads((dense_runs[target] / "summary.json").read_text())
    assert (summary["task"], summary["metric"]) == TARGETS[target]
    assert {summary[name]["score"] >= 0 for name in ("teacher", "baseline", "student")} == {True}
    assert (dense_runs[target] / "report.html").is_file()
    assert (dense_runs[target] / "preflight.png").read_bytes().startswith(b"\x89PNG"), "a batch with its labels drawn"
    assert (dense_runs[target] / "student.safetensors").is_file()
