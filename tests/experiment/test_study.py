"""An interrupted search of Optuna's goes on: what its database holds is not run again."""

from pathlib import Path

import optuna
import pytest
from omegaconf import DictConfig, OmegaConf

from distill.errors import SettingError
from distill.experiment.study import goes_on


def config(directory: Path, trials: int = 5) -> DictConfig:
    return OmegaConf.create(
        {
            "hydra": {
                "sweep": {"dir": str(directory), "subdir": "${hydra.job.num}"},
                "overrides": {"hydra": []},
                "sweeper": {
                    "_target_": "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
                    "storage": f"sqlite:///{directory}/study.db",
                    "study_name": "search",
                    "n_trials": trials,
                    "sampler": {"seed": 3},
                },
            }
        }
    )


def test_finished_trials_count_and_interrupted_ones_are_given_up(tmp_path: Path) -> None:
    directory = tmp_path / "sweep"
    first = config(directory)
    goes_on(first)
    assert first.hydra.sweeper.n_trials == 5
    assert first.hydra.overrides.hydra == []
    study = optuna.load_study(study_name="search", storage=first.hydra.sweeper.storage)
    for number in range(3):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        (directory / str(number) / ".hydra").mkdir(parents=True)
        if number < 2:
            study.tell(trial, 0.5)
    again = config(directory)
    goes_on(again)
    assert again.hydra.sweeper.n_trials == 3
    assert again.hydra.sweeper.sampler.seed == 5  # or the same would be drawn once more
    assert again.hydra.overrides.hydra == ["hydra.sweep.subdir=2-${hydra.job.num}"]
    seen = optuna.load_study(study_name="search", storage=again.hydra.sweeper.storage)
    assert seen.trials[2].state == optuna.trial.TrialState.FAIL
    with pytest.raises(SettingError, match=r"hydra\.sweeper\.n_trials=2: so many are in sqlite:.* already; give more"):
        goes_on(config(directory, trials=2))


def test_packages_that_do_not_go_together_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.experiment.study.version", lambda name: "2.1.9")
    with pytest.raises(SettingError, match=r"2\.1\.9 is installed; pip install -e \"\.\[sweep\]\""):
        goes_on(config(tmp_path))
