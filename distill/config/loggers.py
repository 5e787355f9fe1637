"""Where the values of a stage are logged."""

import threading
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger

from distill.config.instantiate import instantiate
from distill.errors import SettingError
from distill.files import FULL

# By which of its arguments a logger is told the stage that it logs; of others, `version`.
STAGE_NAME = {"WandbLogger": "name", "MLFlowLogger": "run_name"}


def logger(config: DictConfig, directory: Path, stage: str, step: int | None = None) -> Logger | bool:
    """The stage's logger; False where none is configured.

    With `step`, that of the optimizer which a resumed stage goes on after, TensorBoard shows nothing that was logged
    after it before; other loggers log what follows beside what was logged before.

    Raises:
        SettingError: also where its package is missing.
    """
    if not config:
        return False
    kind = str(config.get("_target_")).rpartition(".")[2]
    given: dict[str, Any] = {"save_dir": directory / "logs"}
    if kind == "TensorBoardLogger":
        given = {"save_dir": directory / "tensorboard", "version": stage}
        threading.excepthook = _tell_unless_full
        if step is not None:
            # Among its settings: what is given is left out where a logger takes it as one of any keywords.
            config = OmegaConf.create({**config, "purge_step": step + 1})
    else:
        stage = stage if step is None else f"{stage}-from-{step}"
        argument = STAGE_NAME.get(kind, "version")
        given[argument] = stage if argument == "version" else f"{directory.name} {stage}"
    try:
        return instantiate(config, "logger", Logger, **given)  # type: ignore[type-abstract]
    except SettingError as error:
        failure = error.__cause__
        if kind not in STAGE_NAME or failure is None or not isinstance(failure.__cause__, ModuleNotFoundError):
            raise
        extra = kind.removesuffix("Logger").lower()
        raise SettingError(f'logger={extra}: its package is missing: pip install -e ".[{extra}]"') from error


def _tell_unless_full(args: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread, whose error comes again where the next value is logged: a full disk's is told
    there, in one line."""
    if not (isinstance(args.exc_value, OSError) and args.exc_value.errno in FULL):
        threading.__excepthook__(args)
