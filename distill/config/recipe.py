"""How a stage is optimised: the run's optimizer and schedule, or the teacher's own where it is trained first."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill.config import parts
from distill.config.nodes import read
from distill.config.options import option
from distill.config.run_config import RunConfig
from distill.errors import SettingError
from distill.schedules import Schedule
from distill.training.parameters import Grouping, OptimizerFactory

FINE_TUNING = 0.01  # of optimizer.lr, which is for random weights: pretrained ones would be lost at it


@dataclass(frozen=True, slots=True)
class Recipe:
    """What moves the weights of a stage.

    rate: the full learning rate; None where the optimizer's config has none.
    gentle: whether the rate was lowered because the weights are pretrained and no other was given.
    """

    optimizer: OptimizerFactory
    grouping: Grouping
    schedule: Schedule
    rate: float | None
    gentle: bool


def recipe(config: RunConfig, stage: str, *, pretrained: bool = False) -> Recipe:
    """The recipe of a stage.

    What `teacher.optimizer` and `teacher.scheduler` set stands in the place of the run's, for the teacher alone.

    Args:
        config: of the run.
        stage: 'teacher', 'baseline', 'student' or an assistant's.
        pretrained: whether its weights were trained before.

    Raises:
        SettingError: a setting is unknown, or its value impossible.
    """
    node, where = _node(config, "optimizer", stage)
    own_rate = not _given(config, "optimizer").keys().isdisjoint({"lr", "_target_"})
    gentle = stage == "teacher" and pretrained and "lr" in node and not own_rate
    if gentle:
        node.lr = FINE_TUNING * node.lr
    if config.trainer.own.scale_lr and "lr" in node:
        node.lr *= _batches_of_a_step(config) ** (1.0 if config.trainer.own.scale_lr == "linear" else 0.5)
    scheduler, scheduler_where = _node(config, "scheduler", stage)
    return Recipe(
        optimizer=parts.optimizer(node, where),
        grouping=read(node, where, Grouping),
        schedule=parts.schedule(scheduler, scheduler_where),
        rate=node.get("lr"),
        gentle=gentle,
    )


def _batches_of_a_step(config: RunConfig) -> int:
    """How many batches of `data.batch_size` the optimizer learns from at once."""
    from distill.config import build  # with Lightning, which other recipes need not wait for

    return build.hardware(config.trainer).world_size * config.trainer.own.accumulate_grad_batches


def _node(config: RunConfig, group: str, stage: str) -> tuple[DictConfig, str]:
    """A stage's optimizer or scheduler as a config of its own, and where it stands, for messages."""
    shared: Any = OmegaConf.to_container(getattr(config, group), resolve=True)
    own = _given(config, group) if stage == "teacher" else {}
    if not own:
        return DictConfig(shared), group
    chosen: dict[str, Any] = own if "_target_" in own else {**shared, **own}
    return DictConfig(chosen), f"teacher.{group}"


def _given(config: RunConfig, group: str) -> dict[str, Any]:
    """What is set for the teacher alone: by the name of a file in configs/, or key by key."""
    own = getattr(config.teacher.own, group)
    if isinstance(own, str):
        own = OmegaConf.to_container(option(group, own, f"teacher.{group}"), resolve=True)
    if own is not None and not isinstance(own, dict):
        raise SettingError(
            f"teacher.{group}={own}: must be a name of configs/{group}/, or settings such as {{lr: 1e-4}}"
        )
    return {name: value for name, value in (own or {}).items() if value is not None}
