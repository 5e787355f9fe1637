"""Labels to class numbers, in whichever of the usual forms they come."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distill.errors import SettingError


def class_numbers(labels: Any, where: str) -> Tensor:
    """(N,) int64 of labels (N,) or (N, 1) in whole numbers of any type, or one-hot (N, classes).

    Args:
        labels: an array, a tensor or a list of numbers.
        where: what holds them, for messages.

    Raises:
        SettingError: labels that name no class, or several.
    """
    try:
        values = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    except ValueError:  # of items of different lengths
        values = np.empty(0, object)
    if values.dtype.kind not in "biuf":
        raise SettingError(f"{where} hold {_kind(labels, values)}; must be class numbers from 0, one for each image")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2:
        values = _from_one_hot(values, where)
    if values.ndim != 1:
        raise SettingError(f"{where} are of shape {values.shape}; must be class numbers from 0, one for each image")
    odd = values[~np.isfinite(values) | (values != np.floor(values))] if values.dtype.kind == "f" else values[:0]
    if len(odd):
        raise SettingError(f"{where} hold {odd[0]:g}; must be class numbers, which are whole, from 0")
    return torch.from_numpy(values.astype(np.int64))


def is_multi_hot(labels: npt.NDArray[Any]) -> bool:
    """Whether labels are (N, 2 or more) of 0 and 1, and name several classes at once in places, or none."""
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "biuf":
        return False
    ones = labels == 1
    return bool((ones | (labels == 0)).all() and (ones.sum(1) != 1).any())


def label_table(labels: npt.NDArray[Any], where: str) -> Tensor:
    """(N, C) int64 of 0 and 1, of labels of that shape in any type.

    Args:
        labels: an array.
        where: what holds them, for messages.

    Raises:
        SettingError: another shape, or other numbers.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "biuf" or not ((labels == 0) | (labels == 1)).all():
        raise SettingError(
            f"{where} are {labels.dtype} of shape {labels.shape}; must be (N, labels) of 0 and 1 in all splits, where "
            "images have several labels"
        )
    return torch.from_numpy(labels.astype(np.int64))


def _from_one_hot(values: Any, where: str) -> Any:
    ones = values == 1
    odd = values[~(ones | (values == 0))]
    if len(odd):
        raise SettingError(
            f"{where} are of shape {values.shape}; must be class numbers from 0, one for each image, or one-hot, which "
            f"is 0 and 1 alone: they hold {odd.flat[0]:g}"
        )
    if not (ones.sum(1) == 1).all():
        raise SettingError(
            f"{where} name {ones.sum(1).max()} classes at once in places; images with several classes, or none, are "
            "read by data=arrays alone: give one class number for each"
        )
    return ones.argmax(1)


def _kind(labels: Any, values: Any) -> str:
    if values.dtype.kind in "US":
        return f"text such as {str(values.flat[0])!r}"
    return f"{type(labels[0]).__name__ if len(labels) else 'nothing'} of different lengths or kinds"
