"""The framework's own settings, which stand in the configs beside those of what they configure."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import DictConfig

from distill.config.nodes import read
from distill.errors import SettingError
from distill.training.compiling import Compile
from distill.training.precision import OTHER_NAMES, PRECISIONS

PASSED_ON = {"passed_on": True}
"""Of a field: the target takes it too."""
Asked = Literal["run", "32-true", "bf16-mixed", "16-mixed", "64-true"]
"""In what precision the networks of a finished run are asked: `run` is the one that it trained in."""


@dataclass(frozen=True)
class RunSettings:
    """The run-level switches of configs/train.yaml."""

    seed: int = 0
    baseline: bool = True
    resume: str | None = None
    trust: str | list[str] = dataclasses.field(default_factory=list)
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
    on_nonfinite: Literal["stop", "skip"] = "stop"

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
class CheckpointSettings:
    """How often a stage writes what it goes on from, within epochs; after each epoch it does anyway."""

    every_steps: int | None = None
    every_minutes: int | float | None = None

    def __post_init__(self) -> None:
        if self.every_steps is not None and self.every_steps < 1:
            raise ValueError(f"every_steps={self.every_steps}: must be 1 or more, or null for after epochs alone")
        if self.every_minutes is not None and not self.every_minutes > 0:
            raise ValueError(f"every_minutes={self.every_minutes}: must be above 0, or null for after epochs alone")


@dataclass(frozen=True)
class EvaluationSettings:
    """What configs/evaluate.yaml sets beside the run."""

    split: Literal["train", "val", "test"] | None = None
    precision: Asked = "32-true"
    predictions: bool | str = False
    corruptions: bool | list[str] = False
    speed: bool = False


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
class GenerationSettings:
    """What configs/generate.yaml sets."""

    path: str
    input: str
    output: str
    gguf_file: str | None = None
    max_new_tokens: int = 256
    temperature: float = 1.0
    batch_size: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("max_new_tokens", 1), ("temperature", 0), ("batch_size", 1), ("seed", 0)):
            if not least <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)}: must be {least} or more")


@dataclass(frozen=True)
class DataSettings:
    """What every data set takes, beside what its own file in configs/data/ sets."""

    batch_size: int
    student_fraction: float
    augment: dict[str, Any]
    student_without: list[int | str] = dataclasses.field(default_factory=list)
    unlabeled: str | None = None
    augment_seed: int | None = None
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    workers: int | None = None
    timeout: int | float | None = 45
    mean: list[float] | None = None
    std: list[float] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: must be 1 or more")
        if not 0 < self.student_fraction <= 1:
            raise ValueError(f"student_fraction={self.student_fraction}: must be above 0 and at most 1")
        if self.unlabeled is not None and self.sampling == "balanced":
            raise ValueError(
                f"sampling=balanced: images of data.unlabeled={self.unlabeled} have no class; must be shuffled, and "
                "class_weights=balanced does with labels alone"
            )
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers={self.workers}: must be 0 or more, or null for as many as there are cores")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout={self.timeout}: must be above 0 seconds, or null to wait for ever")
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
    shard: bool = False
    optimizer: Any = None  # what it may be says `distill.config.recipe`
    scheduler: Any = None
    augment: dict[str, Any] | None = None

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
    """What configs/trainer/ sets beside the arguments of pytorch_lightning.Trainer, and those that we read too."""

    progress: bool | Literal["auto"] = "auto"
    compile: Compile = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    tf32: bool = True
    sync_batchnorm: bool = False
    scale_lr: Literal["linear", "sqrt"] | None = None
    max_epochs: int = 1
    precision: str | int | None = dataclasses.field(default="32-true", metadata=PASSED_ON)
    strategy: Any = dataclasses.field(default="auto", metadata=PASSED_ON)
    devices: Any = dataclasses.field(default="auto", metadata=PASSED_ON)
    num_nodes: int = dataclasses.field(default=1, metadata=PASSED_ON)
    gradient_clip_val: int | float | None = dataclasses.field(default=None, metadata=PASSED_ON)
    accumulate_grad_batches: int = dataclasses.field(default=1, metadata=PASSED_ON)
    check_val_every_n_epoch: int | None = dataclasses.field(default=1, metadata=PASSED_ON)
    log_every_n_steps: int | None = dataclasses.field(default=50, metadata=PASSED_ON)

    def __post_init__(self) -> None:
        if self.max_epochs < 1:
            raise ValueError(f"max_epochs={self.max_epochs}: must be 1 or more")
        if self.precision is not None and str(self.precision) not in (*PRECISIONS, *OTHER_NAMES):
            raise ValueError(f"precision={self.precision}: must be one of {', '.join(PRECISIONS)}")
        clip = self.gradient_clip_val
        if clip is not None and not clip >= 0:  # Lightning would not clip, and not say so
            raise ValueError(f"gradient_clip_val={clip}: must be above 0, or null to leave gradients as they are")
        if not self.devices or str(self.devices) == "0":
            raise ValueError(f"devices={self.devices}: must be how many, 1 or more, or which: [0]; auto takes all")
        for name in ("num_nodes", "accumulate_grad_batches", "check_val_every_n_epoch"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise ValueError(f"{name}={number}: must be 1 or more")


@dataclass(frozen=True)
class OnPolicySettings:
    """What of the training a language model writes itself."""

    fraction: float = 0.0
    max_new_tokens: int = 128
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction={self.fraction}: must be a share of the batches, from 0 to 1")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={self.max_new_tokens}: must be 1 or more")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature}: must be above 0")


def on_policy(given: Any) -> OnPolicySettings:
    """What of the training a student writes itself, by the node `on_policy`.

    Raises:
        SettingError: as `read`, or something else than these settings was given.
    """
    if given is not None and not isinstance(given, DictConfig):
        raise SettingError(f"on_policy={given}: must be told how much; give on_policy.fraction=0.5")
    return OnPolicySettings() if given is None else read(given, "on_policy", OnPolicySettings)


def early_stopping(given: Any) -> EarlyStoppingSettings:
    """When the stages of a run end before their last epoch, by the node `early_stopping`.

    Raises:
        SettingError: as `read`, or something else than these settings was given.
    """
    if given is not None and not isinstance(given, DictConfig):
        raise SettingError(f"early_stopping={given}: must be told how; give early_stopping.patience=EPOCHS")
    return EarlyStoppingSettings() if given is None else read(given, "early_stopping", EarlyStoppingSettings)


def checkpoint(given: Any) -> CheckpointSettings:
    """How often a run's stages write what they go on from, by the node `checkpoint`.

    Raises:
        SettingError: as `read`, or something else than these settings was given.
    """
    if given is not None and not isinstance(given, DictConfig):
        raise SettingError(f"checkpoint={given}: must be told how often; give checkpoint.every_steps=STEPS")
    return CheckpointSettings() if given is None else read(given, "checkpoint", CheckpointSettings)
