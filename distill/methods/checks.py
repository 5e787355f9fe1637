"""Checks of a method's arguments, and the classes that it is given."""

from collections.abc import Iterable
from typing import TypeVar

from torch import Tensor

from distill.types import Batch

T = TypeVar("T")


def not_negative(name: str, value: float) -> float:
    """The value, if it is finite and zero or more; ValueError otherwise."""
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name}={value}: must be a finite number, zero or more")
    return value


def positive(name: str, value: float) -> float:
    """The value, if it is finite and above zero; ValueError otherwise."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}={value}: must be a finite number above zero")
    return value


def one_of(name: str, value: T, allowed: Iterable[T]) -> T:
    """The value, if it is among those allowed; ValueError otherwise."""
    allowed = list(allowed)
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(map(str, allowed))}")
    return value


def classes_of(batch: Batch) -> Tensor:
    """The true class of every row of `as_rows(logits)`, (N * positions,) int64; the likeliest of mixed labels."""
    targets: Tensor = batch.targets
    targets = targets.argmax(1) if targets.is_floating_point() else targets
    return targets.flatten()
