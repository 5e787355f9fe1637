"""What is read of the composed configuration, once."""

import dataclasses

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from distill.cli import CONFIGS
from distill.config.run_config import parse
from distill.data.augment import Augment
from distill.errors import SettingError


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


def test_own_settings_are_typed_and_the_rest_is_for_what_is_built() -> None:
    config = parse(composed("seed=3", "teacher.max_epochs=7", "chain=[resnet8]", "data.augment.flip=true"))
    assert (config.run.seed, config.teacher.own.max_epochs) == (3, 7)
    assert config.augment.flip
    assert [node.where for node in (config.teacher, config.student, *config.chain)] == [
        "teacher", "student", "assistant1",
    ]  # fmt: skip
    assert "max_epochs" not in config.teacher.target
    assert config.teacher.target._target_ == "distill.models.cnn.cnn"


def test_what_lightning_takes_too_is_read_and_passed_on() -> None:
    config = parse(composed("trainer.precision=32-true", "trainer.gradient_clip_val=0.5"))
    assert config.precision == config.trainer.target.precision == "32-true"
    assert config.trainer.own.gradient_clip_val == config.trainer.target.gradient_clip_val == 0.5
    assert "progress" not in config.trainer.target


def test_interpolations_are_resolved_for_every_part() -> None:
    given = composed("teacher.max_epochs=${trainer.max_epochs}", "method.kd.temperature=${seed}", "seed=5")
    config = parse(given)
    assert config.teacher.own.max_epochs == given.trainer.max_epochs
    assert (config.method.kd.temperature, config.values["method"]["kd"]["temperature"]) == (5, 5)


def test_nothing_changes_it_and_a_changed_one_is_another() -> None:
    given = composed()
    config = parse(given)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.run = config.run  # type: ignore[misc]
    other = config.with_trainer(precision="bf16-mixed")
    assert (config.precision, other.precision) == ("auto", "bf16-mixed")
    assert other.values["trainer"] == {**config.values["trainer"], "precision": "bf16-mixed"}
    assert dataclasses.replace(other, values={}, trainer=config.trainer) == dataclasses.replace(config, values={})
    assert given == OmegaConf.create(dict(config.values))


def test_the_teacher_has_the_augmentation_of_the_others_but_for_what_is_set_for_it() -> None:
    config = parse(composed("experiment=missing_digit"))
    assert (config.augment.mixup, config.augment.crop_padding) == (0.4, 1)
    assert config.augment_of("teacher") == Augment()
    config = parse(composed("data.augment={flip: true, mixup: 0.4}", "teacher.augment.mixup=0"))
    assert config.augment_of("student") == config.augment_of("baseline") == Augment(flip=True, mixup=0.4)
    assert config.augment_of("teacher") == Augment(flip=True)
    assert parse(composed("data.augment.flip=true")).augment_of("teacher") == Augment(flip=True)
    with pytest.raises(SettingError, match=r"teacher\.augment\.mixupp"):
        parse(composed("++teacher.augment.mixupp=0"))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["++student.augment={flip: true}"], "student.augment={'flip': True}: is for a teacher that is trained first"),
        (["teacher.shard=true"], "teacher.shard=true: needs trainer=fsdp, and trainer.strategy=auto is chosen"),
        (["++student.shard=true"], "student.shard=true: is for the teacher; trainer=fsdp shares out what learns"),
        (["++student.train=true"], "student.train=True: is for a teacher that is trained first"),
        (["++student.optimizer={lr: 1}"], "student.optimizer={'lr': 1}: is for a teacher that is trained first"),
        (["early_stopping=3"], "early_stopping=3: must be told how; give early_stopping.patience=EPOCHS"),
        (["data=image_folder"], "data.root is not set: give data.root=VALUE"),
        (["++data.augment.flop=true"], "data.augment.flop is not a setting; did you mean data.augment.flip?"),
        (["chain=[resnet5]"], "chain: 'resnet5' is no file of configs/model/; did you mean resnet56?"),
        (["trainer.precision=half"], "trainer.precision=half: must be one of auto, bf16-mixed, 16-mixed, 32-true"),
        (["trainer.strategy=fsdp", "averaging=ema"], "averaging=ema: must be left out with trainer.strategy=fsdp"),
        (["trainer.strategy=deepspeed", "keep=best"], "keep=best: must be left out with trainer.strategy=deepspeed"),
    ],
)
def test_a_mistake_is_one_line(overrides: list[str], line: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse(composed(*overrides))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
