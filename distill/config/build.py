"""From configs to objects: data, networks, teachers and the trainer here; what needs less stands in `instantiate` and
`parts`, and is had from here too."""

import logging
import re
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.trainer.connectors.accelerator_connector import _AcceleratorConnector
from torch import nn

from distill.config.checking import located, parameters_of
from distill.config.instantiate import instantiate, locate
from distill.config.instantiate import kind_of as kind_of
from distill.config.networks import BackboneBuilder, assemble
from distill.config.nodes import Node, node
from distill.config.parts import augment as augment
from distill.config.parts import method as method
from distill.config.parts import optimizer as optimizer
from distill.config.parts import schedule as schedule
from distill.config.preparation import Statistics
from distill.config.run_config import RunConfig
from distill.config.settings import NetworkSettings, RunSettings, TrainerSettings
from distill.data.language.source import LanguageSource
from distill.data.source import ImageSource, Only, Source
from distill.data.token_source import TokenSource
from distill.errors import SettingError
from distill.models.custom import custom
from distill.models.network import Network
from distill.tasks import Task
from distill.teachers import Teacher, TeacherInputs
from distill.training.hardware import Hardware
from distill.training.on_policy import OnPolicy
from distill.training.parallel import tell_processes
from distill.training.parameters import freeze
from distill.training.precision import choose_precision

log = logging.getLogger(__name__)

T = TypeVar("T")


def source(config: DictConfig, only: Only | None = None) -> Source:
    """The data set of `data`; where it can be read alone, the one split that is wanted, which then stands for all."""
    return instantiate(config, "data", Source, only=only)  # type: ignore[type-abstract]


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
    builder = locate(node, where)
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
            form = data.format
            given |= {"max_length": form.max_length, "tokenizer": form.tokenizer, "tokenizer_gguf": form.gguf_file}
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


def teacher(config: DictConfig, answering: Network, inputs: TeacherInputs, *, shard: bool = False) -> Teacher:
    """Where the teacher's answers come from, for a network that answers and what it is shown."""
    return instantiate(config, "teaching", Teacher, network=answering, inputs=inputs, shard=shard)


def on_policy(config: RunConfig, data: Source) -> OnPolicy | None:
    """Which batches a student writes itself; None: none."""
    asked = config.on_policy
    if not asked.fraction or not isinstance(data, LanguageSource):
        return None
    end = data.tokenizer.eos_token_id
    return OnPolicy(asked.fraction, asked.max_new_tokens, asked.temperature, end, config.run.seed)


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
