"""Where the values of a stage are logged, by configs/logger."""

import csv
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distill.config.loggers import logger
from distill.errors import SettingError
from distill.files import CONFIGS


def config(name: str) -> DictConfig:
    read = OmegaConf.load(CONFIGS / "logger" / f"{name}.yaml")
    assert isinstance(read, DictConfig)
    return read


def test_tables_of_values_a_stage_each(tmp_path: Path) -> None:
    for stage, step in (("teacher", None), ("student", None), ("student", 40)):
        built = logger(config("csv"), tmp_path, stage, step)
        assert not isinstance(built, bool)
        built.log_metrics({"val/accuracy": 0.5}, step=(step or 0) + 1)
        built.save()
    tables = {str(file.parent.relative_to(tmp_path)): file for file in tmp_path.rglob("metrics.csv")}
    assert set(tables) == {"logs/teacher", "logs/student", "logs/student-from-40"}
    with tables["logs/student-from-40"].open() as opened:
        assert list(csv.DictReader(opened)) == [{"step": "41", "val/accuracy": "0.5"}]


def test_tensorboard_takes_back_what_follows_the_step_that_a_stage_goes_on_after(tmp_path: Path) -> None:
    def values_of(built: Any) -> list[tuple[int, float]]:
        built.experiment.close()
        events = EventAccumulator(built.log_dir)
        events.Reload()
        return [(event.step, event.value) for event in events.Scalars("loss")]

    first = logger(config("tensorboard"), tmp_path, "student")
    for step in (1, 2, 3):
        first.log_metrics({"loss": float(step)}, step=step)  # type: ignore[union-attr]
    assert [step for step, _ in values_of(first)] == [1, 2, 3]
    again = logger(config("tensorboard"), tmp_path, "student", step=2)
    again.log_metrics({"loss": 30.0}, step=3)  # type: ignore[union-attr]
    assert values_of(again) == [(1, 1.0), (2, 2.0), (3, 30.0)]


@pytest.mark.parametrize(("name", "flag"), [("wandb", "_WANDB_AVAILABLE"), ("mlflow", "_MLFLOW_AVAILABLE")])
def test_a_missing_package_is_named(name: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def __bool__(self) -> bool:
            return False

        def __str__(self) -> str:
            return f"No module named {name!r}"

    monkeypatch.setattr(f"pytorch_lightning.loggers.{name}.{flag}", Missing())
    with pytest.raises(SettingError, match=rf'logger={name}: its package is missing: pip install -e "\.\[{name}\]"'):
        logger(config(name), tmp_path, "student")
