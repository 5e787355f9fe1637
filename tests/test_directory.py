"""A run's directory: what goes on keeps its settings, and no run takes another's networks for its own."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from distill.directory import check_unused, load_config, resumed, save_config
from distill.errors import SettingError


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


def test_what_a_run_that_goes_on_does_not_take_up_is_named(tmp_path: Path) -> None:
    save_config(config(), tmp_path)
    given = config(
        seed=5,
        resume=str(tmp_path),
        preflight=False,
        method={"kd": {"temperature": 2.0}},
        trainer={"max_epochs": 9, "precision": "32-true", "devices": 2},
    )
    same, changed = (
        ["trainer.precision=32-true", "preflight=false", "trainer.devices=2", "+experiment=quick"],
        [
            "seed=5",
            "method.kd.temperature=2",
            "trainer.max_epochs=9",
        ],
    )
    found, left_out = resumed(given, tmp_path, [f"resume={tmp_path}", *same, *changed])
    assert left_out == changed
    assert (found.seed, found.preflight) == (0, False)
    assert found.trainer == {"max_epochs": 3, "precision": "32-true", "channels_last": True, "devices": 2}
