"""A signal while a network trains: the step is finished, a checkpoint written, and then the run ends."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from distill import signals
from distill.training.checkpointing import StepCheckpoint

BATCHES = 6

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


class StoppedError(Exception):
    """What a signal raises in these tests."""


class Line(pl.LightningModule):
    """Learns one number, and sends its process a signal in the batches that are named, by their numbers in training."""

    def __init__(self, *sends: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.sends, self.batches = sends, 0

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.batches += 1
        if self.batches in self.sends:
            os.kill(os.getpid(), signal.SIGUSR1)
        return ((self.weight - batch[0]) ** 2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def handled() -> Iterator[None]:
    """A signal raises an exception, as in a command, and after the test does what it did before."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedError(signal.Signals(number).name)

    before = {number: signal.getsignal(number) for number in (*signals.STOPS, signal.SIGCHLD)}
    signals.handle_signals(stop)
    yield
    signals._handlers.clear()
    signals._asked.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


def train(module: Line, directory: Path, epochs: int = 2, **settings: Any) -> None:
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=directory,
        callbacks=[
            pl.callbacks.ModelCheckpoint(directory, "last", enable_version_counter=False, save_on_train_epoch_end=True),
            StepCheckpoint(directory / "last.ckpt"),
        ],
        **settings,
    )  # fmt: skip
    trainer.fit(module, DataLoader(TensorDataset(torch.arange(float(BATCHES))), batch_size=1))


def step(directory: Path) -> int:
    return int(torch.load(directory / "last.ckpt", weights_only=True)["global_step"])


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize(
    ("sent_in", "accumulated", "batches", "steps"),
    [
        (3, 1, 3, 3),  # the step in which it came
        (3, 2, 4, 2),  # the batches of a step that are still to come
        (6, 1, 6, 6),  # the last step of an epoch: the checkpoint of the epoch
        (8, 1, 8, 8),
        (12, 1, 12, 12),  # the last of all
    ],
)
def test_the_step_is_finished_and_a_checkpoint_written(
    sent_in: int, accumulated: int, batches: int, steps: int, tmp_path: Path
) -> None:
    module = Line(sent_in)
    with pytest.raises(StoppedError, match="SIGUSR1"):
        train(module, tmp_path, accumulate_grad_batches=accumulated)
    assert (module.batches, step(tmp_path)) == (batches, steps)


@pytest.mark.usefixtures("handled")
def test_a_second_signal_ends_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "APART", 0.0)
    module = Line(7, 8)
    with pytest.raises(StoppedError):
        train(module, tmp_path, accumulate_grad_batches=3)
    assert (module.batches, step(tmp_path)) == (8, 2)


@pytest.mark.usefixtures("handled")
def test_a_signal_that_a_launcher_passes_on_is_the_same_one(tmp_path: Path) -> None:
    module = Line(2, 3)
    with pytest.raises(StoppedError):
        train(module, tmp_path, accumulate_grad_batches=3)
    assert (module.batches, step(tmp_path)) == (3, 1)


@pytest.mark.usefixtures("handled")
def test_after_training_a_signal_ends_the_run_at_once_again(tmp_path: Path) -> None:
    train(Line(), tmp_path, epochs=1)
    with pytest.raises(StoppedError, match="SIGTERM"):
        os.kill(os.getpid(), signal.SIGTERM)


def test_where_signals_are_not_the_packages_they_are_left_alone(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    train(Line(), tmp_path, epochs=1)
    assert signal.getsignal(signal.SIGUSR1) is before
