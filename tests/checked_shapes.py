"""What checks the shapes of annotations in tests; see conftest.py."""

from collections.abc import Callable
from typing import Any, get_args

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

CONF = BeartypeConf(is_pep484_tower=True)  # an int where a float is asked for, as Python has it


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that checks its tensors; itself, where no annotation gives a shape: settings check themselves."""
    return beartype(conf=CONF)(function) if any(map(_has_shape, function.__annotations__.values())) else function


def _has_shape(hint: Any) -> bool:
    return (isinstance(hint, type) and issubclass(hint, AbstractArray)) or any(map(_has_shape, get_args(hint)))
