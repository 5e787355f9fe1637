"""Preflight takes whole steps as the run does: what fails in the optimizer or the schedule alone fails there."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from distill.cli import CONFIGS
from distill.config.run_config import parse
from distill.errors import SettingError
from distill.experiment.pipeline import prepare, run
from distill.experiment.preflight import check_networks, examine
from distill.experiment.preflight.duration import in_words, seconds_an_epoch
from distill.experiment.preflight.findings import Findings

QUICK = (
    "trainer=cpu", "logger=none", "trainer.max_epochs=1", "teacher.max_epochs=1", "model@teacher=cnn4",
    "model@student=cnn4", "trainer.precision=32-true",
)  # fmt: skip


class Idle(torch.optim.SGD):
    """Refuses to take a step."""

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        if closure is not None:
            with torch.enable_grad():
                closure()
        raise RuntimeError("not today")


def idle(parameters: Iterable[nn.Parameter], lr: float = 0.1) -> Idle:
    return Idle(parameters, lr=lr)


class EndsEarly:
    """A schedule that knows of the beginning alone."""

    def __call__(self, progress: float) -> float:
        if progress > 0:
            raise KeyError("no such step")
        return 1.0


class Backwards(torch.autograd.Function):
    """Can't be gone through backwards when all is right in front."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise AssertionError("no way back")


class NoWayBack(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return Backwards.apply(self.head(images.flatten(1)))


def look(directory: Path, *overrides: str) -> Findings:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        chosen = compose("train", overrides=[*QUICK, *overrides])
    prepared = prepare(parse(chosen), directory)
    return examine(prepared, check_networks(prepared))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("optimizer._target_=test_rehearsal.idle", "~optimizer.weight_decay", "~optimizer.fused"),
            "optimizer: a training step fails: not today",
        ),
        (
            ("scheduler._target_=test_rehearsal.EndsEarly", "~scheduler.warmup", "~scheduler.final"),
            "scheduler: a training step fails: KeyError: 'no such step'",
        ),
        (
            ("model@student=custom", "student.target=test_rehearsal.NoWayBack"),
            "student: a training step fails: no way back",
        ),
    ],
)
def test_what_only_a_whole_step_shows_is_found_before_anything_is_trained(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        chosen = compose("train", overrides=[*QUICK, *overrides])
    with pytest.raises(SettingError) as error:
        run(chosen, tmp_path)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "teacher.safetensors").exists()


def test_a_loss_that_explodes_in_the_second_step_is_said(tmp_path: Path) -> None:
    findings = look(tmp_path, "optimizer.lr=1e30", "student.norm=none", "scheduler=constant", "baseline=false")
    assert [warning.split(":")[0] for warning in findings.warnings] == ["teacher", "student"]
    assert "lower optimizer.lr" in findings.warnings[1]


def test_every_stage_has_its_time(tmp_path: Path) -> None:
    findings = look(tmp_path, "chain=[cnn4]")
    assert list(findings.seconds) == ["teacher", "assistant1", "student", "baseline"]
    assert all(seconds > 0 for seconds in findings.seconds.values())
    assert findings.lines[-1].startswith("time      roughly ")


def test_the_time_is_that_of_batches_images_and_their_loading(tmp_path: Path) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        data = prepare(parse(compose("train", overrides=[*QUICK])), tmp_path).stage("teacher").data()
    training, validation = data.train_dataloader(), data.val_dataloader()
    assert (len(training), len(validation.split)) == (40, 500)
    given = {"batch": 0.3, "image": 0.01, "loading": 0.2}
    assert seconds_an_epoch(training, validation, **given, processes=1, every=1) == pytest.approx(40 * 0.5 + 5)
    assert seconds_an_epoch(training, validation, **given, processes=2, every=5) == pytest.approx((40 * 0.5 + 1) / 2)
    training.workers = 4  # as where images stream from files
    assert seconds_an_epoch(training, validation, **given, processes=1, every=1) == pytest.approx(40 * 0.3 + 5)


def test_times_are_rounded_as_they_deserve() -> None:
    said = in_words({"teacher": 732.0, "student": 3.2, "baseline": 7000.0})
    assert said == "roughly 2.1 h to train: teacher 12 min, student 5 s, baseline 1.9 h"
    assert in_words({"student": 4e5}) == "roughly 4.6 days to train: student 4.6 days"
