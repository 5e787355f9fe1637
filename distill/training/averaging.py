"""Averages of a network's weights during training (EMA, SWA), which often score better than the last ones."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from distill.models.average import follow
from distill.training.batchnorm import average_statistics
from distill.training.module import DistillModule

Kind = Literal["ema", "swa"]


class Averaging(pl.Callback):
    """Averages the deployed network; while it is validated, and at the end, the average stands in its place.

    A moving average ("ema") takes every step's weights: the average keeps min(decay, 1 - 1/n) of itself at the n-th, so
    that the start is forgotten (Polyak and Juditsky, 1992). The statistics of BatchNorm are averaged in the same way.

    Stochastic weight averaging ("swa", Izmailov et al., 1803.05407) takes the weights after each of the last epochs,
    with equal shares. The statistics of BatchNorm are measured anew, with the averaged weights, on the epoch's training
    images, before each validation.

    Args:
        kind: "ema" or "swa".
        decay: of the moving average, at least 0 and below 1.
        start: share of the training after which epochs are averaged by "swa", at least 0 and below 1.
    """

    def __init__(self, kind: Kind, decay: float = 0.999, start: float = 0.75) -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"averaging={kind}: must be one of null, {', '.join(get_args(Kind))}")
        self.kind, self.decay, self.start = kind, decay, start
        self.taken = 0
        self.average: dict[str, Tensor] = {}
        self._step = 0
        self._measured = False
        self._own: dict[str, Tensor] = {}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the weights, if a step of the optimizer was taken and this is one whose weights count."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        last = trainer.is_last_batch and trainer.current_epoch + 1 > self.start * (trainer.max_epochs or 1)
        if self.kind == "ema" or last:
            self._take(_state(pl_module))

    def _take(self, current: dict[str, Tensor]) -> None:
        self.taken += 1
        self._measured = False
        if not self.average:
            self.average = {name: _precise(value).clone() for name, value in current.items()}
        mean = 1 - 1 / self.taken
        follow(self._here(current), current, min(self.decay, mean) if self.kind == "ema" else mean)

    def _here(self, current: dict[str, Tensor]) -> dict[str, Tensor]:
        """The average on the device of the network, from wherever a checkpoint was read to."""
        self.average = {name: value.to(current[name].device) for name, value in self.average.items()}
        return self.average

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in the network's place."""
        if self.taken:
            self._own = {name: value.clone() for name, value in _state(pl_module).items()}
            self.deploy(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the network its own weights back."""
        _fill(pl_module, self._own)
        self._own = {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The average is what was trained."""
        self.deploy(trainer, pl_module)

    def deploy(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Give the network the averaged weights; nothing before any were taken."""
        if not self.taken:
            return
        _fill(module, self._here(_state(module)))
        norms = dict(_norms(module))
        average_statistics(norms.values())
        if self.kind == "swa" and norms and not self._measured:
            measure_norms(list(norms.values()), trainer, module)
            for path, norm in norms.items():
                self.average |= {f"{path}.{name}": value.clone() for name, value in norm.named_buffers()}
            self._measured = True

    def state_dict(self) -> dict[str, Any]:
        """The average goes along with a checkpoint."""
        return {"taken": self.taken, "step": self._step, "measured": self._measured, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `state_dict` gave it."""
        self.taken, self._step = state_dict["taken"], state_dict["step"]
        self._measured, self.average = state_dict["measured"], state_dict["average"]


@torch.no_grad()
def measure_norms(norms: list[_BatchNorm], trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Measure the statistics of BatchNorm layers anew on the training images of the epoch, over all processes."""
    assert isinstance(module, DistillModule)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
        norm.train()
    loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
    loader.order.set_epoch(trainer.current_epoch)
    plugin = trainer.precision_plugin
    for batch in loader:
        with plugin.forward_context():
            module.deployed(plugin.convert_input(batch.inputs))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
        if trainer.world_size > 1:
            for statistic in (norm.running_mean, norm.running_var):
                assert statistic is not None
                statistic.copy_(trainer.strategy.reduce(statistic, reduce_op="mean"))


def _norms(module: pl.LightningModule) -> Iterator[tuple[str, _BatchNorm]]:
    """The BatchNorm layers that keep statistics and aren't frozen, by their paths."""
    assert isinstance(module, DistillModule)
    for path, layer in module.deployed.backbone.named_modules():
        if isinstance(layer, _BatchNorm) and layer.track_running_stats and layer not in module.student.frozen:
            yield path, layer


def _state(module: pl.LightningModule) -> dict[str, Tensor]:
    assert isinstance(module, DistillModule)
    backbone: nn.Module = module.deployed.backbone
    return {name: value for name, value in backbone.state_dict().items() if isinstance(value, Tensor)}


@torch.no_grad()
def _fill(module: pl.LightningModule, values: Mapping[str, Tensor]) -> None:
    """Copy values into the deployed network, whose storage stays."""
    state = _state(module)
    for name, value in values.items():
        state[name].copy_(value)


def _precise(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() and value.element_size() < 4 else value
