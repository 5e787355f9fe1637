"""Data sets to batches: deterministic order, deterministic augmentation.

The public names are imported when they are first used: settings of the data are checked before Lightning is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.data.augment import Augment
    from distill.data.module import DataModule, student_samples
    from distill.data.module import DataModule as ImageDataModule
    from distill.data.source import ImageSource, Source
    from distill.data.split import Split
    from distill.data.stream import Stream

__all__ = ["Augment", "DataModule", "ImageDataModule", "ImageSource", "Source", "Split", "Stream", "student_samples"]

_HOMES = {
    "Augment": "augment",
    "DataModule": "module",
    "ImageDataModule": "module",
    "ImageSource": "source",
    "Source": "source",
    "Split": "split",
    "Stream": "stream",
    "student_samples": "module",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'distill.data' has no attribute {name!r}")
    return getattr(import_module(f"distill.data.{_HOMES[name]}"), name)
