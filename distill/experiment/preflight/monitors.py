"""What callbacks watch, against what a stage logs."""

from collections.abc import Collection
from pathlib import Path

from omegaconf import DictConfig

from distill.config import build
from distill.errors import SettingError

LOGGED_LATER = {"train/images_per_second"}  # by what times a real stage


def check_monitors(callbacks: DictConfig, stage: str, logged: Collection[str]) -> None:
    """Raise SettingError if a callback watches a value that a stage doesn't log: it would fail after the first epoch.

    Args:
        callbacks: the node `callbacks`.
        stage: its name; callbacks watch every stage.
        logged: names of the values that it logs.
    """
    known = sorted({*logged} | LOGGED_LATER)
    for name, callback in zip(map(str, callbacks), build.callbacks(callbacks, Path("checkpoints")), strict=True):
        monitor = getattr(callback, "monitor", None)
        if monitor is not None and monitor not in known:
            raise SettingError(
                f"callbacks.{name}.monitor={monitor}: the {stage} has no such value; must be one of {', '.join(known)}"
            )
