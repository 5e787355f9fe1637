"""A sweep, as its users start it."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from omegaconf import OmegaConf

from distill.report.compare import draw, find_runs

ROOT = Path(__file__).parents[2]
ONE = ("trainer.max_epochs=1", "trainer.precision=32-true")


def test_one_job_fails_and_the_others_share_a_baseline(
    command: Any, run_here: Any, weights: Any, finished: Any, tmp_path: Path
) -> None:
    teacher = f"teacher.checkpoint={finished.directory}/teacher.safetensors"
    done = command("train.py", "-m", teacher, *ONE, "method.kd.temperature=2,0,4", f"hydra.sweep.dir={tmp_path}/sweep",
                   status=2)  # fmt: skip
    mistake = "method.kd.temperature=0: must be a finite number above zero"
    assert [line for line in done.stderr.splitlines() if not line.startswith("WARNING: ")] == [
        f"error: job 1: {mistake}",
        f"error: 1 of 3 jobs failed: 1 (method.kd.temperature=0): {mistake}",
    ]
    first, last = tmp_path / "sweep/0", tmp_path / "sweep/2"
    assert f"baseline: taken over from {first}" in (last / "train.log").read_text()
    assert "baseline trained in" not in (last / "train.log").read_text()
    anew = run_here(teacher, *ONE, "method.kd.temperature=4")
    for stage in ("baseline", "student"):
        mine, theirs = (weights(run / f"{stage}.safetensors") for run in (last, anew))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine), stage
    said = [json.loads((run / "summary.json").read_text()) for run in (first, last, anew)]
    assert said[0]["seconds"]["baseline"] == said[1]["seconds"]["baseline"]
    assert said[1]["gain_points"] == said[2]["gain_points"]
    assert (last / "tensorboard/baseline").is_dir()


def test_a_search_side_by_side_shares_teacher_and_baseline_and_keeps_its_trials(command: Any, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    command(
        "train.py", "-m", "hydra/sweeper=optuna", "hydra/launcher=joblib", "sweep=temperature_weight", *ONE,
        "teacher.max_epochs=1", "preflight=false", "logger=none", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2",
        f"hydra.sweep.dir={sweep}",
    )  # fmt: skip
    study = optuna.load_study(study_name="temperature_weight", storage=f"sqlite:///{sweep}/study.db")
    assert [trial.state for trial in study.trials] == [optuna.trial.TrialState.COMPLETE] * 2
    for trial in study.trials:
        run = sweep / str(trial.number)
        summary = json.loads((run / "summary.json").read_text())
        assert summary["student"]["score"] == trial.value
        assert list(trial.intermediate_values.values()) == pytest.approx([trial.value])
        settings = OmegaConf.load(run / "config.yaml").method.kd
        assert trial.params == {"method.kd.temperature": settings.temperature, "method.kd.weight": settings.weight}
    logs = "".join((sweep / number / "train.log").read_text() for number in "01")
    for stage in ("teacher", "baseline"):
        assert logs.count(f"{stage} trained in") == 1
        assert logs.count(f"{stage}: taken over from") == 1
    draw(find_runs([sweep]), tmp_path / "search.png")
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")
