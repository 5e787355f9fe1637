"""The composed configuration as what the rest of the package takes of it: typed, checked once, and frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill.config import parts
from distill.config.effect import ABOUT_THE_RUN
from distill.config.nodes import Node, node, read
from distill.config.options import option
from distill.config.settings import (
    CheckpointSettings,
    DataSettings,
    EarlyStoppingSettings,
    NetworkSettings,
    OnPolicySettings,
    RunSettings,
    TeachingSettings,
    TrainerSettings,
    checkpoint,
    early_stopping,
    on_policy,
)
from distill.config.trust import names
from distill.data.augment import Augment
from distill.errors import SettingError, suggestion

PARTS = {
    "data": "data=NAME",
    "data.augment": "data.augment.flip=true",
    "teacher": "model@teacher=NAME",
    "student": "model@student=NAME",
    "method": "method=NAME",
    "teaching": "teaching=NAME",
    "optimizer": "optimizer=NAME",
    "scheduler": "scheduler=NAME",
    "trainer": "trainer=NAME",
}
"""What every run has settings of, and how they are given."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What configs/train.yaml composes.

    What has a type of its own is read here; nodes that only `distill.config.build` looks into are kept as they are.

    values: all of it as plain data, every interpolation resolved: what config.yaml and the report hold.
    run: the run-level switches.
    early_stopping: when stages end before their last epoch.
    checkpoint: how often stages write what they go on from within epochs.
    on_policy: which batches a language model writes itself.
    data: which data set, and how it is shown.
    augment: of training images.
    teacher, student: the two networks.
    chain: the networks of assistants, in their order.
    method: by name, the nodes of the methods.
    teaching: where the teacher's answers come from.
    optimizer, scheduler: nodes, of every stage that has none of its own; see `distill.config.recipe`.
    trainer: of Lightning.
    callbacks: by name, nodes. logger: a node, empty where nothing is logged.
    """

    values: Mapping[str, Any]
    run: RunSettings
    early_stopping: EarlyStoppingSettings
    checkpoint: CheckpointSettings
    on_policy: OnPolicySettings
    data: Node[DataSettings]
    augment: Augment
    teacher: Node[NetworkSettings]
    student: Node[NetworkSettings]
    chain: tuple[Node[NetworkSettings], ...]
    method: DictConfig
    teaching: Node[TeachingSettings]
    optimizer: DictConfig
    scheduler: DictConfig
    trainer: Node[TrainerSettings]
    callbacks: DictConfig
    logger: DictConfig

    @property
    def precision(self) -> str:
        """The trainer's, as Lightning names it, or 'auto'."""
        return str(self.trainer.own.precision or "32-true")

    def augment_of(self, stage: str) -> Augment:
        """Of the images that a stage is trained on: `data.augment`, and for the teacher what `teacher.augment` sets."""
        own = (self.teacher.own.augment if stage == "teacher" else None) or {}
        own = {name: value for name, value in own.items() if value is not None}
        if not own:
            return self.augment
        return parts.augment(OmegaConf.create({**self.values["data"]["augment"], **own}), "teacher.augment")

    def replaced(self, **parts: Any) -> "RunConfig":
        """The configuration with whole parts of it exchanged: `replaced(teaching=...)`."""
        return parse(OmegaConf.create({**self.values, **parts}))

    def with_trainer(self, **settings: Any) -> "RunConfig":
        """The configuration with some settings of `trainer` changed."""
        return self.replaced(trainer={**self.values["trainer"], **settings})


def parse(config: DictConfig) -> RunConfig:
    """Read and check the settings that are the framework's own; what others take is checked when they are built.

    Raises:
        SettingError: a setting is missing, unknown, of a wrong type or out of range, or two don't go together.
    """
    _check_parts(config)
    run = read(config, "", RunSettings)
    values: Any = OmegaConf.to_container(config, resolve=True)
    config = OmegaConf.create(values)
    parsed = RunConfig(
        values=values,
        run=run,
        early_stopping=early_stopping(config.get("early_stopping")),
        checkpoint=checkpoint(config.get("checkpoint")),
        on_policy=on_policy(config.get("on_policy")),
        data=node(config.data, "data", DataSettings),
        augment=parts.augment(config.data.augment),
        teacher=node(config.teacher, "teacher", NetworkSettings),
        student=_learner(config.student, "student"),
        chain=tuple(
            _learner(option("model", name, "chain"), f"assistant{number}") for number, name in enumerate(run.chain, 1)
        ),
        method=config.method,
        teaching=node(config.teaching, "teaching", TeachingSettings),
        optimizer=config.optimizer,
        scheduler=config.scheduler,
        trainer=node(config.trainer, "trainer", TrainerSettings),
        callbacks=config.get("callbacks") or OmegaConf.create({}),
        logger=config.get("logger") or OmegaConf.create({}),
    )
    parsed.augment_of("teacher")
    _check_watched(parsed)
    _check_sharded(parsed)
    return parsed


def check_names(config: DictConfig) -> None:
    """Raise SettingError for a setting at the top of a configuration that nobody reads: none of ours, and none that
    another one refers to by ${name}. Of `trust`, what names no package."""
    names(config.get("trust"))
    known = {*RunConfig.__dataclass_fields__, *RunSettings.__dataclass_fields__, *ABOUT_THE_RUN} - {"values", "run"}
    text = ""
    for name in (str(name) for name in config if name not in (*known, "hydra", "defaults")):
        text = text or OmegaConf.to_yaml(config)
        if f"${{{name}" not in text:
            raise SettingError(f"{name} is not a setting{suggestion(name, known)}")


def _check_parts(config: DictConfig) -> None:
    """Raise SettingError for a part of a run that is left out, or is one value in place of settings."""
    for name, given_by in PARTS.items():
        part = OmegaConf.select(config, name)
        if isinstance(part, DictConfig):
            continue
        if part is None:
            raise SettingError(
                f"{name} is not set: give {given_by}, and begin a file of your own with `defaults: [train, _self_]`"
            )
        chosen = "" if isinstance(part, bool | int | float) else str(part)
        raise SettingError(f"{name}={part}: has settings of its own; give {given_by.replace('NAME', chosen or 'NAME')}")


def _learner(config: DictConfig, where: str) -> Node[NetworkSettings]:
    """A network that is taught, and so cannot have what is for a teacher that is trained first."""
    found = node(config, where, NetworkSettings)
    if found.own.shard:
        raise SettingError(f"{where}.shard=true: is for the teacher; trainer=fsdp shares out what learns")
    for name in ("train", "optimizer", "scheduler", "augment"):
        if getattr(found.own, name) is not None:
            raise SettingError(f"{where}.{name}={getattr(found.own, name)}: is for a teacher that is trained first")
    return found


def _check_sharded(config: RunConfig) -> None:
    """Raise SettingError for a teacher that is to be shared out over processes where none asks it in parts."""
    strategy, teaching = config.trainer.own.strategy, str(config.teaching.target.get("_target_"))
    if config.teacher.own.shard and strategy != "fsdp2":
        raise SettingError(f"teacher.shard=true: needs trainer=fsdp, and trainer.strategy={strategy} is chosen")
    if config.teacher.own.shard and not teaching.endswith(".LiveTeacher"):
        raise SettingError("teacher.shard=true: is for teaching=live, where the teacher is asked in each step")


def _check_watched(config: RunConfig) -> None:
    """Raise SettingError for what is watched or averaged, where that isn't one network in each process."""
    strategy = config.trainer.own.strategy
    for name in ("keep", "averaging") if str(strategy).startswith(("fsdp", "deepspeed")) else ():
        if getattr(config.run, name) not in (None, "last"):
            raise SettingError(
                f"{name}={getattr(config.run, name)}: must be left out with trainer.strategy={strategy}, "
                "where each process holds a part of the weights; use trainer=ddp"
            )
