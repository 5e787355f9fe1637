"""Averages of weights, in a plain Lightning trainer: their values, the network that is validated, resuming."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from distill.data import ImageDataModule, ImageSource
from distill.data.split import Split
from distill.methods import Supervised
from distill.models.network import Network
from distill.tasks import Classification
from distill.tasks.base import Metric
from distill.training.averaging import Averaging
from distill.training.best_epoch import Watch
from distill.training.module import DistillModule
from distill.training.parameters import freeze

EPOCHS = 4

pytestmark = pytest.mark.filterwarnings("ignore:.*exists and is not empty")


def data() -> ImageDataModule:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (30, 1, 6, 6), dtype=torch.uint8, generator=generator)
    targets = torch.arange(30) % 3
    images[torch.arange(30), 0, targets] = 255
    return ImageDataModule(
        ImageSource("made", Split(images[:24], targets[:24]), Split(images[24:], targets[24:]), ["a", "b", "c"]),
        batch_size=6,
    )


def module(norm: bool = True) -> DistillModule:
    torch.manual_seed(1)
    layers = [nn.Conv2d(1, 4, 3), *([nn.BatchNorm2d(4)] if norm else []), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)]
    network = Network(nn.Sequential(*layers), mean=[0.5], std=[0.5])
    return DistillModule(network, None, Supervised(), optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9))


class Recording(pl.Callback):
    """What the network's weights were after each step and at each validation; ends a training before an epoch."""

    def __init__(self, until: int = EPOCHS) -> None:
        self.until = until
        self.steps: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.until:
            raise RuntimeError("the power fails")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.steps.append(copy.deepcopy(pl_module.student.backbone.state_dict()))

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        self.validated.append(copy.deepcopy(pl_module.student.backbone.state_dict()))


def fit(trained: DistillModule, *callbacks: pl.Callback, file: Path | None = None, **options: Any) -> Recording:
    recording = Recording(options.pop("until", EPOCHS))
    saving = (
        [ModelCheckpoint(file.parent, "last", save_on_train_epoch_end=True, enable_version_counter=False)]
        if file
        else []
    )
    trainer = pl.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, enable_checkpointing=bool(saving), callbacks=[recording, *callbacks, *saving],
    )  # fmt: skip
    trainer.fit(trained, datamodule=data(), weights_only=True, **options)
    return recording


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], msg=name)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_moving_average_by_hand_is_validated_and_kept_and_training_goes_on_without_it() -> None:
    plain = fit(module())
    averaged = module()
    recording = fit(averaged, Averaging("ema", decay=0.7))
    assert all(same(one, other) for one, other in zip(recording.steps, plain.steps, strict=True))
    average = {name: value.double() for name, value in plain.steps[0].items()}
    for number, step in enumerate(plain.steps, start=1):
        keep = min(0.7, 1 - 1 / number)
        for name, value in average.items():
            if step[name].is_floating_point():
                value.mul_(keep).add_(step[name], alpha=1 - keep)
            else:
                average[name] = step[name]
    expected = {name: value.to(plain.steps[0][name].dtype) for name, value in average.items()}
    close(averaged.student.backbone.state_dict(), expected)
    assert same(recording.validated[-1], averaged.student.backbone.state_dict())
    assert not same(recording.validated[-1], plain.steps[-1])


def test_stochastic_weight_averaging_by_hand() -> None:
    plain = fit(module(norm=False))
    averaged = module(norm=False)
    recording = fit(averaged, Averaging("swa", start=0.5))
    ends = plain.steps[3::4]  # 24 images in steps of 6
    assert same(recording.validated[1], ends[1])  # nothing is averaged before the middle
    mean = {name: (ends[2][name] + ends[3][name]) / 2 for name in ends[2]}
    close(averaged.student.backbone.state_dict(), mean)
    close(recording.validated[3], mean)


def test_statistics_are_measured_on_the_training_images_with_the_averaged_weights() -> None:
    averaged = module()
    fit(averaged, Averaging("swa", start=0.25))
    backbone: Any = averaged.student.backbone
    loader = data().train_dataloader()
    loader.order.set_epoch(EPOCHS - 1)
    with torch.no_grad():
        maps = [backbone[0](averaged.student.preprocess(batch.inputs)) for batch in loader]
    means = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    variances = torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0)
    torch.testing.assert_close(backbone[1].running_mean, means)
    torch.testing.assert_close(backbone[1].running_var, variances)
    assert backbone[1].momentum == 0.1


@pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training")
def test_frozen_statistics_stay() -> None:
    averaged = module()
    freeze(averaged.student, ["1"])
    before = averaged.student.backbone.state_dict()["1.running_mean"].clone()
    fit(averaged, Averaging("swa", start=0.25))
    assert torch.equal(averaged.student.backbone.state_dict()["1.running_mean"], before)


@pytest.mark.parametrize(
    "watching",
    [
        lambda: [Averaging("ema", decay=0.7)],
        lambda: [Averaging("swa", start=0.25)],
        lambda: [Watch(Classification.metric, best=True), Averaging("ema", decay=0.9)],
    ],
    ids=["ema", "swa", "best-ema"],
)
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(watching: Any, tmp_path: Path) -> None:
    whole, callbacks = module(), watching()
    fit(whole, *callbacks)
    with pytest.raises(RuntimeError, match="the power fails"):
        fit(module(), *watching(), file=tmp_path / "last.ckpt", until=2)
    resumed, others = module(), watching()
    fit(resumed, *others, file=tmp_path / "last.ckpt", ckpt_path=tmp_path / "last.ckpt")
    assert same(resumed.student.backbone.state_dict(), whole.student.backbone.state_dict())
    for one, other in zip(callbacks, others, strict=True):
        if isinstance(one, Watch):
            assert (one.value, one.epoch) == (other.value, other.epoch)
            assert same(one.weights, other.weights)


# ---------------------------------------------------------------------------------------------- which epoch is kept


class Told(pl.Callback):
    """Logs a value beside each validation's own."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("val/told", self.values[trainer.current_epoch])


HIGHEST, LOWEST = (Metric("told", higher_is_better=higher, words="what it was told") for higher in (True, False))


@pytest.mark.parametrize(
    ("values", "metric", "best"),
    [
        ([0.2, 0.6, 0.6, 0.1], HIGHEST, 2),
        ([0.9, 0.6, 0.6, 0.1], LOWEST, 4),
        ([float("nan"), 0.1, 0.3, 0.2], HIGHEST, 3),
    ],
)
def test_the_first_of_the_best_epochs_is_kept(values: list[float], metric: Metric, best: int) -> None:
    watch = Watch(metric, best=True)
    recording = fit(module(), Told(values), watch)
    assert watch.epoch == best
    assert same(watch.weights, recording.validated[best - 1])
    assert watch.stopped is None


def test_without_a_wish_for_the_best_nothing_is_held() -> None:
    watch = Watch(HIGHEST, best=False)
    fit(module(), watch)
    assert watch.weights == {}


@pytest.mark.parametrize(
    ("values", "patience", "min_delta", "stopped"),
    [
        ([0.5, 0.4, 0.6, 0.7], 1, 0.0, 2),
        ([0.5, 0.4, 0.6, 0.7], 2, 0.0, None),
        ([0.5, 0.51, 0.52, 0.53], 2, 0.05, 3),
        ([0.5, 0.5, 0.5, 0.5], 3, 0.0, None),  # its last epoch was that anyway
    ],
)
def test_early_stopping(values: list[float], patience: int, min_delta: float, stopped: int | None) -> None:
    trained, watch = module(), Watch(HIGHEST, best=False, patience=patience, min_delta=min_delta)
    fit(trained, Told(values), watch)
    assert watch.stopped == stopped
    assert len(trained.history) == (stopped or EPOCHS)


def test_a_stage_that_was_stopped_is_not_taken_up_again(tmp_path: Path) -> None:
    values = [0.5, 0.4, 0.6, 0.7]
    stopped, watch = module(), Watch(HIGHEST, best=True, patience=1)
    fit(stopped, Told(values), watch, file=tmp_path / "last.ckpt")
    again, other = module(), Watch(HIGHEST, best=True, patience=1)
    fit(again, Told(values), other, file=tmp_path / "last.ckpt", ckpt_path=tmp_path / "last.ckpt")
    assert same(again.student.backbone.state_dict(), stopped.student.backbone.state_dict())
    assert same(other.weights, watch.weights)
    assert (other.stopped, other.epoch, len(again.history)) == (2, 1, 2)
