"""The framework's own settings, which stand in the configs beside those of what they configure."""

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from omegaconf import DictConfig, OmegaConf

from distill.config.checking import check_given, check_value, join, located
from distill.errors import SettingError
from distill.training.compiling import Compile

T = TypeVar("T")
Asked = Literal["run", "32-true", "bf16-mixed", "16-mixed", "64-true"]
"""In what precision the networks of a finished run are asked: `run` is the one that it trained in."""


@dataclass(frozen=True)
class RunSettings:
    """The run-level switches of configs/train.yaml."""

    seed: int = 0
    baseline: bool = True
    resume: str | None = None
    preflight: bool | Literal["only"] = True
    show: Literal["layers", "all_layers"] | None = None
    profile: bool = False
    chain: list[str] = dataclasses.field(default_factory=list)
    generations: int = 1
    label_smoothing: float = 0.0
    class_weights: Literal["balanced"] | list[float] | None = None
    keep: Literal["last", "best"] = "last"
    averaging: Literal["ema", "swa"] | None = None
    ema_decay: float = 0.999
    swa_start: float = 0.75

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: must be zero or more")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing}: must be at least 0 and below 1")
        if self.generations < 1:
            raise ValueError(f"generations={self.generations}: must be 1 or more")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay}: must be at least 0 and below 1")
        if not 0 <= self.swa_start < 1:
            raise ValueError(f"swa_start={self.swa_start}: must be a share of the training, at least 0 and below 1")


@dataclass(frozen=True)
class EarlyStoppingSettings:
    """When a stage ends before its last epoch."""

    patience: int | None = None
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience={self.patience}: must be 1 or more epochs, or null to train to the end")
        if not 0 <= self.min_delta < 1:
            raise ValueError(f"min_delta={self.min_delta}: must be at least 0 and below 1: 0.01 is a point of accuracy")


@dataclass(frozen=True)
class EvaluationSettings:
    """What configs/evaluate.yaml sets beside the run."""

    split: Literal["train", "val", "test"] | None = None
    precision: Asked = "32-true"
    predictions: bool | str = False


@dataclass(frozen=True)
class PredictionSettings:
    """What configs/predict.yaml sets."""

    run: str
    input: str
    output: str | None = None
    batch_size: int = 64
    precision: Asked = "32-true"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: must be 1 or more")


@dataclass(frozen=True)
class DataSettings:
    """What every data set takes, beside what its own file in configs/data/ sets."""

    batch_size: int
    student_fraction: float
    augment: dict[str, Any]
    augment_seed: int | None = None
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    workers: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: must be 1 or more")
        if not 0 < self.student_fraction <= 1:
            raise ValueError(f"student_fraction={self.student_fraction}: must be above 0 and at most 1")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers={self.workers}: must be 0 or more, or null for as many as there are cores")
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"mean={self.mean} and std={self.std}: give both or neither")
        if not all(value > 0 for value in self.std or []):
            raise ValueError(f"std={self.std}: must be above 0")


@dataclass(frozen=True)
class NetworkSettings:
    """What every network takes, beside what its own file in configs/model/ sets."""

    name: str | None = None
    checkpoint: str | None = None
    max_epochs: int = 1
    mean: list[float] | None = None
    std: list[float] | None = None
    size: int | None = None
    channels: int | None = None
    classes: list[int | str] | str | None = None
    head: Literal["new"] | None = None
    freeze: list[str] = dataclasses.field(default_factory=list)
    train: bool | None = None
    optimizer: dict[str, Any] | str | None = None
    scheduler: dict[str, Any] | str | None = None

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels={self.channels}: must be 3 for RGB, 1 for grey, or null for the data's")
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"mean={self.mean} and std={self.std}: give both or neither")
        if not all(value > 0 for value in self.std or []):
            raise ValueError(f"std={self.std}: every value must be above 0")
        if self.max_epochs < 0:
            raise ValueError(f"max_epochs={self.max_epochs}: must be 1 or more, or 0 to use the network as it is")
        if self.train and self.max_epochs == 0:
            raise ValueError("max_epochs=0: must be 1 or more with train=true")
        if self.size is not None and self.size < 1:
            raise ValueError(f"size={self.size}: must be 1 or more")


@dataclass(frozen=True)
class MethodSettings:
    """What every method takes, beside what its own file in configs/method/ sets."""

    standardize_logits: bool = False
    schedules: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class TeachingSettings:
    """What every way of teaching takes, beside what its own file in configs/teaching/ sets."""

    epochs: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs={self.epochs}: must be 1 or more, or null for images that are new in each epoch")


@dataclass(frozen=True)
class TrainerSettings:
    """What configs/trainer/ sets beside the arguments of pytorch_lightning.Trainer."""

    progress: bool | Literal["auto"] = "auto"
    compile: Compile = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    tf32: bool = True
    max_epochs: int = 1

    def __post_init__(self) -> None:
        if self.max_epochs < 1:
            raise ValueError(f"max_epochs={self.max_epochs}: must be 1 or more")


def read(config: DictConfig, where: str, cls: type[T]) -> T:
    """The framework's own keys of a node.

    Raises:
        SettingError: a value that is not given, of a wrong type or out of range.
    """
    check_given(config, where)
    values: Any = OmegaConf.to_container(config, resolve=True)
    chosen = {name: values[name] for name in _names(cls) if name in values}
    hints = typing.get_type_hints(cls)
    for name, value in chosen.items():
        check_value(join(where, name), value, hints[name])
    try:
        return cls(**chosen)
    except ValueError as error:
        raise SettingError(located(where, error)) from error


def early_stopping(config: DictConfig) -> EarlyStoppingSettings:
    """When the stages of a run end before their last epoch.

    Raises:
        SettingError: as `read`, or something else than these settings was given.
    """
    given = config.get("early_stopping")
    if given is not None and not isinstance(given, DictConfig):
        raise SettingError(f"early_stopping={given}: must be told how; give early_stopping.patience=EPOCHS")
    return EarlyStoppingSettings() if given is None else read(given, "early_stopping", EarlyStoppingSettings)


def without(config: DictConfig, cls: type) -> DictConfig:
    """The node without the framework's own keys: what goes to its target."""
    kept = OmegaConf.create({})
    for name in config:
        if name not in _names(cls):
            kept[name] = config._get_node(name)
    return kept


def _names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]
