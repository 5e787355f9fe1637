"""Keeps the best epoch's weights and stops early, by a metric of the validation split."""

import math
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from distill.tasks.base import Metric
from distill.training.module import DistillModule


class Watch(pl.Callback):
    """Keeps the weights of the best epoch so far, and stops a stage that gets no better.

    The weights, of the network that is deployed, go along in checkpoints: a resumed stage knows its best as the
    uninterrupted one does. Of equally good epochs the first is kept.

    Args:
        metric: what is looked at after each validation.
        best: whether weights are kept.
        patience: epochs without a gain after which the stage stops; None for never.
        min_delta: a gain is more than this.

    Attributes:
        value: of the metric in the best epoch; None before a validation.
        epoch: the best epoch, from 1.
        weights: then, on the CPU; empty where none are kept.
        stopped: the epoch after which the stage was stopped; None where it wasn't.
    """

    def __init__(self, metric: Metric, *, best: bool, patience: int | None = None, min_delta: float = 0.0) -> None:
        self.metric, self.best, self.patience, self.min_delta = metric, best, patience, min_delta
        self.value: float | None = None
        self.epoch: int | None = None
        self.weights: dict[str, Tensor] = {}
        self.stopped: int | None = None
        self.reference: float | None = None  # what a gain is counted from
        self.reference_epoch = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A stage that had been stopped isn't taken up again."""
        if self.stopped is not None:
            trainer.should_stop = True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the metric."""
        if trainer.sanity_checking or self.metric.logged not in trainer.callback_metrics:
            return
        value, epoch = float(trainer.callback_metrics[self.metric.logged]), trainer.current_epoch + 1
        if math.isnan(value):
            return
        if self.value is None or self.metric.gain(value, self.value) > 0:
            self.value, self.epoch = value, epoch
            if self.best:
                assert isinstance(pl_module, DistillModule)
                state = pl_module.deployed.backbone.state_dict()
                self.weights = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        if self.reference is None or self.metric.gain(value, self.reference) > self.min_delta:
            self.reference, self.reference_epoch = value, epoch
        elif (
            self.patience is not None and self.patience <= epoch - self.reference_epoch and epoch != trainer.max_epochs
        ):
            self.stopped = epoch
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What has been seen so far."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `state_dict` gave it."""
        for name in _STATE:
            setattr(self, name, state_dict[name])


_STATE = ("value", "epoch", "weights", "stopped", "reference", "reference_epoch")
