"""From configs to objects: the only caller of hydra.utils.instantiate.

Each value is checked against the signature of what it configures before anything is built, so a mistyped key or a value
of a wrong type is one line that names the setting.
"""

import dataclasses
import inspect
import logging
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import hydra
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger
from torch import nn
from typeguard import TypeCheckError, check_type

from distill.checkpoint import CheckpointError, load_weights
from distill.data.augment import Augment
from distill.data.source import ImageSource
from distill.errors import SettingError, suggestion
from distill.methods import Composite, Method
from distill.models.network import Network
from distill.models.preprocessing import preprocessing_of
from distill.schedules import Schedule
from distill.teachers import Teacher

log = logging.getLogger(__name__)

T = TypeVar("T")


def instantiate(config: DictConfig, where: str, expected: type[T], **given: Any) -> T:
    """Build what a config describes.

    Args:
        config: a node with `_target_`.
        where: its path in the configuration, for messages: `method.kd`.
        expected: the type that must come out; for `_partial_` nodes, the type of the factory.
        given: arguments that come from the run rather than from the user; those that the target doesn't take are
            left out.

    Raises:
        SettingError: an unknown or missing key, a value of a wrong type or out of range, a target that doesn't exist.
    """
    target = _locate(config, where)
    parameters = _parameters(target)
    given = {name: value for name, value in given.items() if name in parameters}
    _check_settings(config, where, target, given)
    try:
        built = hydra.utils.instantiate(config, _convert_="all", **given)
    except InstantiationException as error:
        raise SettingError(_reason(where, error)) from error
    if not isinstance(built, expected):
        raise SettingError(f"{where}._target_={config._target_}: builds a {type(built).__name__}, not a {expected.__name__}")
    return built


def _locate(config: DictConfig, where: str) -> Any:
    path = config.get("_target_")
    if not isinstance(path, str):
        raise SettingError(f"{where} has no _target_: the dotted path of what to build")
    try:
        return hydra.utils.get_object(path)
    except Exception as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise SettingError(f"{where}._target_={path}: cannot be imported ({reason})") from error


def _parameters(target: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def _check_settings(config: DictConfig, where: str, target: Any, given: Mapping[str, Any]) -> None:
    settings: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    parameters = _parameters(target)
    named = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    hints = _hints(target)
    for name, value in settings.items():
        if name.startswith("_"):
            continue
        if name not in named and not open_ended:
            raise SettingError(f"{where}.{name} is not a setting{suggestion(name, named - set(given))}")
        if name in hints and not isinstance(value, Mapping):
            _check_type(_join(where, name), value, hints[name])
    required = [n for n, p in parameters.items() if n in named and p.default is p.empty]
    missing = [name for name in required if name not in settings and name not in given]
    if missing and not config.get("_partial_") and not config.get("_args_"):
        raise SettingError(f"{where}.{missing[0]} is not set: {where}._target_={config.get('_target_')} needs it")


def _hints(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception:  # hints of other people's code that don't resolve: leave the checking to the code itself
        return {}


def _check_type(where: str, value: Any, hint: Any) -> None:
    try:
        check_type(value, hint)
    except TypeCheckError:
        wanted = getattr(hint, "__name__", None) if inspect.isclass(hint) else None
        wanted = wanted or str(hint).replace("typing.", "").replace("collections.abc.", "")
        raise SettingError(f"{where}={value!r}: must be of type {wanted}, and is a {type(value).__name__}") from None


def _reason(where: str, error: InstantiationException) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, ValueError | TypeError | FileNotFoundError | ImportError):
        return _prefixed(where, cause)
    return f"{where}: {type(cause).__name__}: {cause}"


def _prefixed(where: str, error: BaseException) -> str:
    """`temperature=0: must ...` from `method.kd` becomes `method.kd.temperature=0: must ...`."""
    message = str(error)
    name = message.split("=", 1)[0]
    if isinstance(error, SettingError) and message.startswith(where):
        return message
    return _join(where, message) if "=" in message and name.isidentifier() else f"{where}: {message}"


# ---------------------------------------------------------------------------------------------- the parts of a run


@dataclass(frozen=True)
class RunSettings:
    """The run-level switches of configs/train.yaml."""

    seed: int = 0
    baseline: bool = True
    resume: str | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: must be zero or more")


@dataclass(frozen=True)
class DataSettings:
    """What every data set takes, beside what its own file in configs/data/ sets."""

    batch_size: int
    student_fraction: float
    augment: dict[str, Any]
    workers: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: must be 1 or more")
        if not 0 < self.student_fraction <= 1:
            raise ValueError(f"student_fraction={self.student_fraction}: must be above 0 and at most 1")


@dataclass(frozen=True)
class NetworkSettings:
    """What every network takes, beside what its own file in configs/model/ sets."""

    checkpoint: str | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    size: int | None = None
    max_epochs: int = 1
    name: str | None = None

    def __post_init__(self) -> None:
        if self.max_epochs < 1:
            raise ValueError(f"max_epochs={self.max_epochs}: must be 1 or more")


@dataclass(frozen=True)
class MethodSettings:
    """What every method takes, beside what its own file in configs/method/ sets."""

    standardize_logits: bool = False
    schedules: dict[str, Any] = dataclasses.field(default_factory=dict)


def settings(config: DictConfig, where: str, cls: type[T]) -> T:
    """The framework's own keys of a node, checked."""
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    values: Any = OmegaConf.to_container(config, resolve=True)
    hints = typing.get_type_hints(cls)
    chosen = {name: values[name] for name in names if name in values}
    for name, value in chosen.items():
        _check_type(_join(where, name), value, hints[name])
    try:
        return cls(**chosen)
    except ValueError as error:
        raise SettingError(_prefixed(where, error)) from error


def source(config: DictConfig) -> ImageSource:
    """The data set of `data`."""
    return instantiate(_without(config, DataSettings), "data", ImageSource)


def augment(config: DictConfig) -> Augment:
    """The augmentation of `data.augment`."""
    return instantiate(OmegaConf.merge({"_target_": "distill.data.augment.Augment"}, config.augment), "data.augment", Augment)


def network(config: DictConfig, where: str, data: ImageSource, statistics: tuple[list[float], list[float]]) -> Network:
    """The network of `teacher` or `student`, with its own statistics or the data's, its weights loaded."""
    own = settings(config, where, NetworkSettings)
    given = {"num_classes": data.num_classes, "in_channels": data.channels, "image_size": data.image_size}
    target = _without(config, NetworkSettings)
    if "name" in _parameters(_locate(target, where)):
        given["name"] = own.name
    backbone = instantiate(target, where, nn.Module, **given)
    pretrained = preprocessing_of(backbone)
    choices = ((own.mean, own.std), (pretrained.mean, pretrained.std), statistics)
    mean, std = next((mean, std) for mean, std in choices if mean or std)
    if own.checkpoint is not None:
        try:
            log.info(load_weights(backbone, own.checkpoint).summary())
        except CheckpointError as error:
            raise SettingError(f"{where}.checkpoint={own.checkpoint}: {error}") from error
    try:
        return Network(backbone, name=own.name, mean=mean, std=std, size=own.size or pretrained.size)
    except SettingError as error:
        raise SettingError(f"{where}.{error}") from error


def method(config: DictConfig) -> Method:
    """The method of `method`: one, or several composed."""
    if not config:
        raise SettingError("method is empty: choose one of configs/method/, such as method=kd")
    built: dict[str, Method] = {}
    for name, node in config.items():
        where = f"method.{name}"
        if not isinstance(node, DictConfig):
            raise SettingError(f"{where}={node}: a method is a node with _target_; choose one with method={name}")
        built[str(name)] = _method(node, where)
    return next(iter(built.values())) if len(built) == 1 else Composite(built)


def _method(config: DictConfig, where: str) -> Method:
    """One method, with what any of them takes: standardised logits, schedules on its numbers."""
    own = settings(config, where, MethodSettings)
    built = instantiate(_without(config, MethodSettings), where, Method)
    built.standardize_logits = own.standardize_logits
    for name, node in (config.get("schedules") or {}).items():
        if not isinstance(getattr(built, name, None), float | int):
            raise SettingError(f"{where}.schedules.{name}: {type(built).__name__} has no number of this name")
        built.schedules[name] = instantiate(node, f"{where}.schedules.{name}", Callable)  # type: ignore[arg-type]
    return built


def optimizer(config: DictConfig) -> Callable[..., Any]:
    """The optimizer's factory, tried once on nothing, so that an impossible rate is found before training."""
    factory = instantiate(config, "optimizer", Callable)  # type: ignore[arg-type]
    try:
        factory([nn.Parameter(torch.zeros(1))])
    except (ValueError, TypeError) as error:
        raise SettingError(f"optimizer: {error}") from error
    return factory  # type: ignore[no-any-return]


def schedule(config: DictConfig) -> Schedule:
    """The learning-rate schedule."""
    return instantiate(config, "scheduler", Callable)  # type: ignore[arg-type]


def teacher(config: DictConfig, answering: Network) -> Teacher:
    """Where the teacher's answers come from, for a network that answers."""
    return instantiate(config, "teaching", Teacher, network=answering)


def callbacks(config: DictConfig, checkpoints: Path) -> list[pl.Callback]:
    """The user's callbacks; those that write checkpoints write them below `checkpoints`."""
    return [instantiate(node, f"callbacks.{name}", pl.Callback, dirpath=checkpoints) for name, node in config.items()]


def logger(config: DictConfig, directory: Path, stage: str) -> Logger | bool:
    """The stage's logger; False where none is configured."""
    if not config:
        return False
    return instantiate(config, "logger", Logger, save_dir=directory / "tensorboard", version=stage)


def trainer(config: DictConfig, **given: Any) -> pl.Trainer:
    """A Lightning trainer; what is given wins over what is configured."""
    node = OmegaConf.create({k: v for k, v in config.items() if k != "progress" and k not in given})
    fixed = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
    }
    return instantiate(node, "trainer", pl.Trainer, **fixed, **given)


def _without(config: DictConfig, cls: type) -> DictConfig:
    names = {field.name for field in dataclasses.fields(cls)}
    return OmegaConf.create({name: value for name, value in config.items() if name not in names})


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
