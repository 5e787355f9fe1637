"""From configs to objects: the only caller of hydra.utils.instantiate.

Each value is checked against the signature of what it configures before anything is built, so a mistyped key or a value
of a wrong type is one line that names the setting.
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import hydra
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.trainer.connectors.accelerator_connector import _AcceleratorConnector
from torch import nn

from distill.config.checking import check_node, located, parameters_of
from distill.config.networks import BackboneBuilder, assemble
from distill.config.preparation import Statistics
from distill.config.settings import (
    MethodSettings,
    NetworkSettings,
    Node,
    RunSettings,
    TrainerSettings,
    node,
    read,
    without,
)
from distill.data.augment import Augment
from distill.data.source import ImageSource, Only, Source
from distill.data.token_source import TokenSource
from distill.errors import SettingError
from distill.methods import Composite, Method
from distill.models.custom import custom
from distill.models.network import Network
from distill.schedules import Schedule
from distill.tasks import Task
from distill.teachers import Teacher, TeacherInputs
from distill.training.hardware import Hardware
from distill.training.parallel import tell_processes
from distill.training.parameters import Grouping, OptimizerFactory, freeze
from distill.training.precision import choose_precision

log = logging.getLogger(__name__)

T = TypeVar("T")


def instantiate(config: DictConfig, where: str, expected: type[T], **given: Any) -> T:
    """Build what a config describes.

    Args:
        config: a node with `_target_`.
        where: its path in the configuration, for messages: `method.kd`.
        expected: the type that must come out.
        given: arguments that come from the run rather than from the user; those that the target doesn't take are
            left out.

    Raises:
        SettingError: an unknown or missing key, a value of a wrong type or out of range, a target that doesn't exist.
    """
    built = _instantiate(config, where, **given)
    if not isinstance(built, expected):
        raise SettingError(
            f"{where}._target_={config._target_}: builds a {type(built).__name__}, not a {expected.__name__}"
        )
    return built


def _instantiate(config: DictConfig, where: str, **given: Any) -> Any:
    target = _locate(config, where)
    parameters = parameters_of(target)
    given = {name: value for name, value in given.items() if name in parameters}
    check_node(config, where, target, given.keys())
    try:
        return hydra.utils.instantiate(config, _convert_="all", **given)
    except InstantiationException as error:
        raise SettingError(located(where, error.__cause__ or error)) from error


def _locate(config: DictConfig, where: str) -> Any:
    path = config.get("_target_")
    if not isinstance(path, str):
        raise SettingError(f"{where} has no _target_: the dotted path of what to build")
    try:
        return hydra.utils.get_object(path)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise SettingError(
            f"{where}._target_={path}: cannot be imported ({reason}); run from the folder that holds it (now "
            f"{Path.cwd()}), or put that folder on PYTHONPATH"
        ) from error


def kind_of(config: DictConfig, where: str, expected: type[T]) -> type[T]:
    """The class that a node builds, for what is known of all of its kind; `expected` where it names a function."""
    target = _locate(config, where)
    return target if isinstance(target, type) and issubclass(target, expected) else expected


def source(config: DictConfig, only: Only | None = None) -> Source:
    """The data set of `data`; where it can be read alone, the one split that is wanted, which then stands for all."""
    return instantiate(config, "data", Source, only=only)  # type: ignore[type-abstract]


def augment(config: DictConfig) -> Augment:
    """The augmentation of `data.augment`."""
    node = OmegaConf.create({"_target_": "distill.data.augment.Augment", **config})
    return instantiate(node, "data.augment", Augment)


def network(
    config: DictConfig, where: str, data: Source, statistics: Statistics | None, *, needs_logits: bool = True
) -> Network:
    """The network of a node that stands by itself, `where` being 'teacher' or 'student'; see `network_of`."""
    return network_of(node(config, where, NetworkSettings), data, statistics, needs_logits=needs_logits)


def network_of(
    config: Node[NetworkSettings], data: Source, statistics: Statistics | None, *, needs_logits: bool = True
) -> Network:
    """The network of `teacher` or `student`, its weights loaded if it has a checkpoint; see `networks.assemble`."""
    own, where, node = config.own, config.where, config.target
    builder = _locate(node, where)
    parameters = parameters_of(builder)

    def make(num_classes: int, channels: int, own_head: bool) -> tuple[nn.Module, dict[str, Any]]:
        given = {"num_classes": num_classes, "own_head": own_head, "name": own.name, "task": data.task.name}
        if isinstance(data, ImageSource):
            given |= {"in_channels": channels, "image_size": own.size or data.image_size}
        elif builder is not custom and "in_channels" in parameters:
            raise SettingError(
                f"{where}: is a network of images, and {data.name} has {data.noun}; choose another model@{where}"
            )
        if isinstance(data, TokenSource):
            given |= {"max_length": data.format.max_length, "tokenizer": data.format.tokenizer}
        built: Any = OmegaConf.to_container(node, resolve=True)
        built |= {name: value for name, value in given.items() if name in parameters}
        return instantiate(node, where, nn.Module, **given), built

    tells = builder is not custom and str(builder.__module__).startswith("distill.models.")
    maker = BackboneBuilder(make, "own_head" in parameters, tells)
    built = assemble(maker, own, where, data, statistics, needs_logits=needs_logits)
    try:
        freeze(built, own.freeze)
    except SettingError as error:
        raise SettingError(located(where, error)) from error
    return built


def method(config: DictConfig) -> Method:
    """The method of `method`: one, or several composed."""
    if not config:
        raise SettingError("method is empty: choose one of configs/method/, such as method=kd")
    built: dict[str, Method] = {}
    for name in map(str, config):
        node = config[name]
        if not isinstance(node, DictConfig):
            raise SettingError(f"method.{name}={node}: is no node with a _target_; choose a method with method={name}")
        built[name] = _method(node, f"method.{name}")
    return next(iter(built.values())) if len(built) == 1 else Composite(built)


def _method(config: DictConfig, where: str) -> Method:
    """One method, with what any of them takes: standardised logits, schedules on its numbers."""
    own = read(config, where, MethodSettings)
    built = instantiate(without(config, MethodSettings), where, Method)
    built.standardize_logits = own.standardize_logits
    for name in own.schedules:
        if not isinstance(getattr(built, name, None), float | int):
            raise SettingError(f"{where}.schedules.{name}: {type(built).__name__} has no number of this name")
        built.schedules[name] = _instantiate(config.schedules[name], f"{where}.schedules.{name}")
    return built


def label_loss(run: RunSettings, task: Task, shown: torch.Tensor, *, partly: bool = False) -> nn.Module:
    """The labels' loss of a task.

    Args:
        run: its settings.
        task: what the labels are.
        shown: (C,) shares of the classes among the samples that are shown.
        partly: whether samples are shown that have no label; a loss with weights takes no notice of them.
    """
    try:
        weights = None if run.class_weights is None else task.class_weights(run.class_weights, shown)
    except ValueError as error:
        raise SettingError(str(error)) from error
    if partly and weights is None:
        weights = torch.ones_like(shown)
    return task.label_loss(run.label_smoothing, weights)


def optimizer(config: DictConfig, where: str = "optimizer") -> OptimizerFactory:
    """The optimizer's factory, tried once on nothing, so that an impossible rate is found before training."""
    factory = _instantiate(without(config, Grouping), where)
    try:
        factory([nn.Parameter(torch.zeros(1))])
    except (ValueError, TypeError) as error:
        said = re.fullmatch(r"Invalid (learning rate|\w+ value): (-.*)", str(error))
        if said is None:
            raise SettingError(f"{where}: {error}") from error
        name = {"learning rate": "lr", "epsilon value": "eps"}.get(said[1], said[1].removesuffix(" value"))
        raise SettingError(f"{where}.{name}={said[2]}: must be zero or more") from error
    return cast(OptimizerFactory, factory)


def schedule(config: DictConfig, where: str = "scheduler") -> Schedule:
    """The learning-rate schedule."""
    return cast(Schedule, instantiate(config, where, Callable))  # type: ignore[arg-type]


def teacher(config: DictConfig, answering: Network, inputs: TeacherInputs) -> Teacher:
    """Where the teacher's answers come from, for a network that answers and what it is shown."""
    return instantiate(config, "teaching", Teacher, network=answering, inputs=inputs)


def callbacks(config: DictConfig, checkpoints: Path) -> list[pl.Callback]:
    """The user's callbacks; those that write checkpoints write them below `checkpoints`."""
    return [
        instantiate(config[name], f"callbacks.{name}", pl.Callback, dirpath=checkpoints) for name in map(str, config)
    ]


def chosen_precision(config: Node[TrainerSettings]) -> tuple[str, str]:
    """The trainer's precision, chosen by what the device can do if it is 'auto', and the reason.

    Raises:
        SettingError: also where the machine hasn't the devices that are asked for.
    """
    if config.own.precision != "auto":
        return str(config.own.precision or "32-true"), "trainer.precision"
    return choose_precision(hardware(config, "32-true").device)


def hardware(config: Node[TrainerSettings], precision: str | None = None) -> Hardware:
    """What a trainer's devices, strategy and precision come to here, without a trainer.

    Args:
        config: of the trainer.
        precision: in place of the configured one.

    Raises:
        SettingError: the machine hasn't the devices that are asked for, or a name is unknown.
    """
    known = parameters_of(_AcceleratorConnector)
    node = OmegaConf.masked_copy(config.target, [str(name) for name in config.target if name in known])
    node._target_ = f"{_AcceleratorConnector.__module__}.{_AcceleratorConnector.__qualname__}"
    node.precision = precision or chosen_precision(config)[0]
    return Hardware.of(instantiate(node, "trainer", _AcceleratorConnector, use_distributed_sampler=False).strategy)


NOT_HERE = "No supported .* backend found|can ?not run on your system|Requirement .* not met"  # Lightning's own words


def trainer(config: Node[TrainerSettings], **given: Any) -> pl.Trainer:
    """A Lightning trainer; what is given wins over what is configured.

    Raises:
        SettingError: also where the machine hasn't the devices that are asked for.
    """
    given = {"max_epochs": config.own.max_epochs, **given}
    if config.own.precision == "auto" and "precision" not in given:
        given["precision"] = chosen_precision(config)[0]
    node = OmegaConf.masked_copy(config.target, [str(name) for name in config.target if name not in given])
    fixed = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
    }
    try:
        built = instantiate(node, "trainer", pl.Trainer, **fixed, **given)
    except SettingError as error:
        if not re.search(NOT_HERE, str(error)):
            raise
        raise SettingError(
            f"trainer.accelerator={config.target.accelerator}: this machine has none; trainer.accelerator=auto takes "
            "what it has"
        ) from error
    return tell_processes(built, sync_batchnorm=config.own.sync_batchnorm)
