"""How a stage is optimised: the run's optimizer and schedule, and the teacher's own."""

from functools import partial
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import nn

from distill.cli import CONFIGS
from distill.config.recipe import recipe
from distill.config.run_config import parse
from distill.errors import SettingError


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


def settings(*overrides: str, stage: str = "teacher", pretrained: bool = False) -> tuple[type, dict[str, Any]]:
    found = recipe(parse(composed(*overrides)), stage, pretrained=pretrained)
    optimizer = found.optimizer([nn.Parameter(torch.zeros(2, 2))])
    assert isinstance(found.optimizer, partial)
    return type(optimizer), {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}


def test_a_teacher_is_trained_as_the_student_unless_told() -> None:
    for overrides in ([], ["optimizer=sgd"], ["experiment=cifar100", "data.path=x"], ["optimizer.lr=0.3"]):
        assert settings(*overrides) == settings(*overrides, stage="student")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("teacher.optimizer.lr=1e-4", {"lr": 1e-4, "momentum": 0.9, "weight_decay": 5e-4}),
        ("teacher.optimizer={lr: 1e-3, momentum: 0.5}", {"lr": 1e-3, "momentum": 0.5, "weight_decay": 5e-4}),
        ("teacher.optimizer.weight_decay=0.1", {"lr": 0.05, "weight_decay": 0.1}),
        ("+teacher.optimizer.nesterov=true", {"lr": 0.05, "nesterov": True}),
        ("teacher.optimizer=null", {"lr": 0.05, "momentum": 0.9}),
    ],
)
def test_what_is_set_for_the_teacher_stands_over_the_runs(override: str, expected: dict[str, Any]) -> None:
    kind, found = settings("optimizer=sgd", override)
    assert kind is torch.optim.SGD
    assert {name: found[name] for name in expected} == expected
    assert settings("optimizer=sgd", override, stage="student")[1]["lr"] == 0.05


@pytest.mark.parametrize("override", ["teacher.optimizer=sgd", "optimizer@teacher.optimizer=sgd"])
def test_another_optimizer_for_the_teacher(override: str) -> None:
    kind, found = settings(override)
    assert (kind, found["lr"], found["momentum"]) == (torch.optim.SGD, 0.05, 0.9)
    assert settings(override, stage="baseline")[0] is torch.optim.AdamW


@pytest.mark.parametrize(("scaling", "rate"), [("null", 0.05), ("linear", 0.3), ("sqrt", 0.05 * 6**0.5)])
def test_the_rate_grows_with_the_batches_of_a_step_where_that_is_asked_for(scaling: str, rate: float) -> None:
    processes = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=3", "trainer.accumulate_grad_batches=2")
    for stage in ("teacher", "student"):
        assert settings("optimizer=sgd", *processes, f"trainer.scale_lr={scaling}", stage=stage)[1]["lr"] == (
            pytest.approx(rate)
        )


def test_the_teachers_own_schedule() -> None:
    assert recipe(parse(composed("teacher.scheduler.warmup=0.5")), "teacher").schedule(0.25) == pytest.approx(0.5)
    assert recipe(parse(composed("teacher.scheduler=constant")), "teacher").schedule(0.9) == 1
    assert recipe(parse(composed("scheduler@teacher.scheduler=constant")), "teacher").schedule(0.9) == 1
    assert recipe(parse(composed("teacher.scheduler=constant")), "student").schedule(0.9) < 0.1


def test_a_pretrained_teacher_is_fine_tuned_gently_unless_it_has_a_rate_of_its_own() -> None:
    assert settings(pretrained=True)[1]["lr"] == pytest.approx(1e-4)
    assert settings("teacher.optimizer.weight_decay=0.1", pretrained=True)[1]["lr"] == pytest.approx(1e-4)
    assert settings("teacher.optimizer.lr=0.02", pretrained=True)[1]["lr"] == 0.02
    assert settings("teacher.optimizer=sgd", pretrained=True)[1]["lr"] == 0.05
    assert settings(pretrained=True, stage="student")[1]["lr"] == 0.01
    assert recipe(parse(composed()), "teacher", pretrained=True).gentle
    assert not recipe(parse(composed()), "teacher").gentle


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("optimizer.layer_decay=0", "optimizer.layer_decay=0: must be above 0 and at most 1, or null"),
        ("teacher.optimizer.layer_decay=2", "teacher.optimizer.layer_decay=2: must be above 0"),
        ("teacher.optimizer.lr=-1", "teacher.optimizer.lr=-1: must be zero or more"),
        ("teacher.optimizer.momentum=0.9", "teacher.optimizer.momentum is not a setting"),
        ("teacher.optimizer=lion", "teacher.optimizer: 'lion' is no file of configs/optimizer/"),
        ("teacher.optimizer=3", "teacher.optimizer=3: must be a name of configs/optimizer/"),
        ("teacher.scheduler.warmup=5", "teacher.scheduler.warmup=5: must be a share between 0 and 1, below 1"),
        ("optimizer.decay_norms_and_biases=perhaps", "optimizer.decay_norms_and_biases='perhaps': must be true"),
    ],
)
def test_impossible_settings_are_one_line(override: str, says: str) -> None:
    with pytest.raises(SettingError) as caught:
        recipe(parse(composed(override)), "teacher")
    assert str(caught.value).startswith(says)
