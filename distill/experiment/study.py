"""An Optuna study that Hydra's sweeper keeps in a database: begun, or gone on with."""

import logging
import os
from importlib.metadata import version
from pathlib import Path

from omegaconf import DictConfig, open_dict, read_write

from distill.errors import SettingError

SWEEPER = ".OptunaSweeper"


def goes_on(config: DictConfig) -> None:
    """Before a sweep of Optuna's: of its trials, those that an earlier attempt finished need not be run again.

    Args:
        config: Hydra's and the run's, whose `hydra.sweeper` may change.

    Raises:
        SettingError: packages are installed that don't go together, or all trials have been run.
    """
    sweeper = config.hydra.sweeper
    if not str(sweeper._target_).endswith(SWEEPER) or not sweeper.get("storage"):
        return
    if int(version("sqlalchemy").split(".")[0]) > 1:
        raise SettingError(
            f"hydra.sweeper.storage={sweeper.storage}: Optuna {version('optuna')} keeps trials by SQLAlchemy 1.4, and "
            f'{version("sqlalchemy")} is installed; pip install -e ".[sweep]"'
        )
    os.environ.setdefault("SQLALCHEMY_SILENCE_UBER_WARNING", "1")  # that there is SQLAlchemy 2
    directory = Path(config.hydra.sweep.dir)
    directory.mkdir(parents=True, exist_ok=True)  # Hydra would, once the database is needed
    done = _done(str(sweeper.storage), str(sweeper.study_name))
    if done >= sweeper.n_trials:
        raise SettingError(
            f"hydra.sweeper.n_trials={sweeper.n_trials}: so many are in {sweeper.storage} already; give more"
        )
    earlier = {path.parent.name.rpartition("-")[0] for path in directory.glob("*/.hydra")}
    with read_write(config), open_dict(config):
        sweeper.n_trials -= done
        if done and sweeper.get("sampler", {}).get("seed") is not None:
            sweeper.sampler.seed += done  # or it would draw again what it has drawn
        if earlier:  # this attempt's jobs are numbered from 0 too, and have directories of their own
            subdir = f"{len(earlier) + 1}-${{hydra.job.num}}"
            config.hydra.sweep.subdir = subdir
            config.hydra.overrides.hydra.append(f"hydra.sweep.subdir={subdir}")


def _done(storage: str, study_name: str) -> int:
    """How many trials have come to an end; those that an interruption left running are given up."""
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(logging.WARNING)
    study = optuna.create_study(study_name=study_name, storage=storage, direction="maximize", load_if_exists=True)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return len(study.get_trials(states=(TrialState.COMPLETE,)))
