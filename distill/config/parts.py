"""The parts of a run that PyTorch alone builds, without Lightning: augmentation, methods, optimizer and schedule.

So mistakes in them are told before Lightning is imported, which takes seconds.
"""

import re
from collections.abc import Callable
from typing import cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from distill.config.instantiate import instantiate, instantiate_any
from distill.config.nodes import read, without
from distill.config.settings import MethodSettings
from distill.data.augment import Augment
from distill.errors import SettingError
from distill.methods import Composite, Method
from distill.schedules import Schedule
from distill.training.parameters import Grouping, OptimizerFactory


def augment(config: DictConfig, where: str = "data.augment") -> Augment:
    """The augmentation of a node."""
    node = OmegaConf.create({"_target_": "distill.data.augment.Augment", **config})
    return instantiate(node, where, Augment)


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
        built.schedules[name] = instantiate_any(config.schedules[name], f"{where}.schedules.{name}")
    return built


def optimizer(config: DictConfig, where: str = "optimizer") -> OptimizerFactory:
    """The optimizer's factory, tried once on nothing, so that an impossible rate is found before training."""
    factory = instantiate_any(without(config, Grouping), where)
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
