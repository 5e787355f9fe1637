"""Data of your own, by the dotted path of a function that loads it."""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distill.data.loading import Handling, InMemory, OnError, load, tensor_of
from distill.data.source import ImageSource
from distill.errors import SettingError

NAMES = ("train", "val")


def custom(
    target: str,
    arguments: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    resize: int | None = None,
    in_memory: InMemory = "auto",
    on_error: OnError = "stop",
) -> ImageSource:
    """Whatever images a function of yours loads.

    Args:
        target: dotted path of the function, e.g. my_package.data.load. It returns an `ImageSource`, or a pair of torch
            data sets (training, validation) whose items are (image, label): a PIL image or uint8 numbers of shape
            (C, H, W) or (H, W), not yet augmented or normalised, and a class from 0. If a data set has `targets`, its
            labels are taken from there, else all items are read once; if it has `classes`, these are the names.
        arguments: keyword arguments of the function.
        image_size, resize, in_memory, on_error: see `distill.data.loading.Handling`; for a pair of data sets.

    Raises:
        SettingError: the function cannot be imported or returned something else; an image that cannot be read.
        ValueError: a setting out of its range.
    """
    handling = Handling(image_size, resize, in_memory, on_error)
    try:
        function = pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError(
            f"data.target={target}: cannot be imported ({error}); give the dotted path of a function, "
            "of a package that is installed or lies in the current directory"
        ) from None
    loaded = function(**(arguments or {}))
    if isinstance(loaded, ImageSource):
        return loaded
    if not (isinstance(loaded, tuple | list) and len(loaded) == 2 and all(map(_is_dataset, loaded))):
        raise SettingError(
            f"data.target={target}: returned {type(loaded).__name__}; "
            "must return an ImageSource or a pair (training, validation) of torch data sets"
        )
    train, val = (DatasetImages(dataset, _targets(dataset), name) for dataset, name in zip(loaded, NAMES, strict=True))
    known = getattr(loaded[0], "classes", None)
    highest = max(int(images.targets.max()) for images in (train, val) if len(images.targets))
    names = [str(name) for name in known] if known is not None else [str(number) for number in range(highest + 1)]
    # One thread: a data set may keep a file open, and move in it.
    return load(target.rpartition(".")[2], train, val, names, handling, threads=1)


@dataclass(frozen=True, slots=True)
class DatasetImages:
    """Images of a torch data set: its items' first entries; (N,) int64 targets."""

    dataset: Any
    targets: Tensor
    label: str

    def read(self, index: int) -> Tensor:
        """(C, H, W) uint8."""
        image = self.dataset[index][0]
        if isinstance(image, Image.Image):
            return tensor_of(image, 1 if image.mode in ("1", "L") else 3)
        image = torch.from_numpy(np.array(image)) if isinstance(image, np.ndarray) else torch.as_tensor(image)
        return image[None] if image.ndim == 2 else image

    def name(self, index: int) -> str:
        """The split and the item."""
        return f"{self.label}[{index}]"


def _is_dataset(value: Any) -> bool:
    return hasattr(value, "__getitem__") and hasattr(value, "__len__")


def _targets(dataset: Any) -> Tensor:
    known = getattr(dataset, "targets", None)
    return torch.as_tensor(known if known is not None else [int(dataset[i][1]) for i in range(len(dataset))]).long()
