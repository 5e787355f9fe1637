"""Ends the training of a trial that does worse than the others of its Optuna study."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig

from distill.experiment.sweep import in_a_sweep
from distill.training.module import DistillModule

log = logging.getLogger("distill")


class Pruning(pl.Callback):
    """Stops the student's training where its score is below the median of the trials before it at the same epoch.

    The trial counts with the score that it has by then. Outside a sweep of Optuna's, and in jobs of several processes,
    it does nothing.

    Args:
        study_name, storage: of the study.
        dirpath: the stage's checkpoints; its name is the stage's.
        startup_trials: that are never stopped.
        warmup_epochs: in which none is.
    """

    def __init__(
        self, study_name: str, storage: str, dirpath: Path, startup_trials: int = 4, warmup_epochs: int = 5
    ) -> None:
        self.study_name, self.storage, self.stage = study_name, storage, Path(dirpath).name
        self.startup_trials, self.warmup_epochs = startup_trials, warmup_epochs
        self._trial: Any = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the trial that this job is, by its settings."""
        if self.stage != "student" or not in_a_sweep() or trainer.world_size > 1:
            return
        import optuna

        pruner = optuna.pruners.MedianPruner(self.startup_trials, self.warmup_epochs)
        study = optuna.load_study(study_name=self.study_name, storage=self.storage, pruner=pruner)
        given = dict(override.split("=", 1) for override in HydraConfig.get().overrides.task if "=" in override)
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            if trial.params and all(given.get(name) == str(value) for name, value in trial.params.items()):
                self._trial = optuna.trial.Trial(study, trial._trial_id)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the score, and stop where the others were better."""
        assert isinstance(pl_module, DistillModule)
        name = pl_module.task.metric.logged
        if self._trial is None or trainer.sanity_checking or name not in trainer.callback_metrics:
            return
        self._trial.report(float(trainer.callback_metrics[name]), trainer.current_epoch)
        if self._trial.should_prune():
            log.info(f"{self.stage}: stopped after epoch {trainer.current_epoch + 1}: below the median of other trials")
            trainer.should_stop = True
