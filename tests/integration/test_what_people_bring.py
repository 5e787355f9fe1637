"""Callbacks and loggers of people's own: a mistake with them is one line that names their setting."""

from pathlib import Path
from typing import Any

import pytest

from distill.errors import SettingError

BROKEN = """
import pytorch_lightning as pl


class AtTheStart(pl.Callback):
    def on_fit_start(self, trainer, pl_module):
        raise KeyError("a fault of its own")


class AtTheEnd(pl.loggers.CSVLogger):
    def log_metrics(self, *args, **kwargs):
        raise RuntimeError("no server")
"""

STOP = "+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping"


@pytest.fixture
def settings(finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "broken_parts.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    return [f"teacher.checkpoint={finished.directory}/teacher.safetensors", "trainer.max_epochs=1", "logger=none"]


def test_a_value_that_is_not_logged_is_told_before_training(run_here: Any, settings: list[str], tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        run_here(*settings, STOP, "+callbacks.stop.monitor=val_acc")
    line = str(caught.value)
    assert line.startswith("callbacks.stop.monitor=val_acc: the student has no such value; must be one of train/")
    assert "val/accuracy" in line
    assert not (tmp_path / "run/checkpoints").exists()
    run_here(*settings, STOP, "+callbacks.stop.monitor=val/accuracy", "preflight=only", name="other")


def test_without_preflight_it_is_told_when_it_fails(run_here: Any, settings: list[str]) -> None:
    with pytest.raises(SettingError, match=r"^callbacks\.stop: Early stopping conditioned on metric `val_acc`"):
        run_here(*settings, STOP, "+callbacks.stop.monitor=val_acc", "preflight=false", "baseline=false")


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("+callbacks.mine._target_=broken_parts.AtTheStart", "callbacks.mine: KeyError: 'a fault of its own'"),
        ("+logger._target_=broken_parts.AtTheEnd", "logger: no server"),
    ],
)
def test_a_fault_in_their_work_names_them(run_here: Any, settings: list[str], setting: str, line: str) -> None:
    with pytest.raises(SettingError) as caught:
        run_here(*settings, setting, "preflight=false", "baseline=false")
    assert str(caught.value) == f"{line} (HYDRA_FULL_ERROR=1 shows where)"
