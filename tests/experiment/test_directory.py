"""A run's directory: what goes on keeps its settings, and no run takes another's networks for its own."""

import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from distill.errors import SettingError
from distill.experiment.directory import check_unused, find_own_code, load_config, save_config


def config(**changes: object) -> DictConfig:
    plain = {
        "seed": 0,
        "resume": None,
        "preflight": True,
        "show": None,
        "method": {"kd": {"temperature": 4.0}},
        "trainer": {"max_epochs": 3, "precision": "32-true", "devices": 1},
    }
    return OmegaConf.create({**plain, **changes})


def test_a_configuration_comes_back_as_it_was(tmp_path: Path) -> None:
    save_config(config(), tmp_path)
    assert load_config(tmp_path, "run") == config()


@pytest.mark.parametrize("trained", ["teacher.safetensors", "checkpoints"])
def test_another_run_is_not_taken_for_this_one(tmp_path: Path, trained: str) -> None:
    save_config(config(), tmp_path)
    check_unused(config(seed=1), tmp_path)  # nothing was trained
    (tmp_path / trained).mkdir()
    check_unused(config(preflight="only"), tmp_path)  # the same run
    with pytest.raises(SettingError, match=r"hydra\.run\.dir=.*: a run with seed=0 lies there.* has 1; .*resume="):
        check_unused(config(seed=1), tmp_path)
    with pytest.raises(SettingError, match=r"method\.kd=.*temperature.* lies there, and this one has None"):
        check_unused(config(method={"at": {"weight": 1}}), tmp_path)


def test_weights_of_something_else_are_not_taken_for_the_runs(tmp_path: Path) -> None:
    (tmp_path / "student.safetensors").touch()
    with pytest.raises(SettingError, match=r"hydra\.run\.dir=.*: student\.safetensors of something else lies there"):
        check_unused(config(), tmp_path)


def test_paths_are_those_of_the_directory_that_the_run_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "images").mkdir()
    (tmp_path / "old" / "teacher.pt").touch()
    monkeypatch.chdir(tmp_path / "old")
    monkeypatch.setattr(sys, "path", sys.path[:])
    run = config(
        data={"root": "images", "name": "images", "path": "hub/name"},
        teacher={"checkpoint": "teacher.pt#ema"},
        teaching={"checkpoints": ["teacher.pt", "gone.pt"]},
    )
    save_config(run, tmp_path)
    assert load_config(tmp_path, "run") == run
    monkeypatch.chdir(tmp_path)
    old = tmp_path / "old"
    found = load_config(tmp_path, "run")
    assert found.data == {"root": f"{old}/images", "name": "images", "path": "hub/name"}
    assert found.teacher.checkpoint == f"{old}/teacher.pt#ema"
    assert found.teaching.checkpoints == [f"{old}/teacher.pt", "gone.pt"]
    assert str(old) not in sys.path
    find_own_code(tmp_path, "run")
    assert str(old) in sys.path  # for names of the user's own code
    old.rename(tmp_path / "moved")  # with the current directory, as a whole
    assert load_config(tmp_path, "run") == run
