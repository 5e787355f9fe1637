"""A network of the user's own, by the dotted path of its class or function."""

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from distill.errors import SettingError, suggestion


def custom(
    *, target: str, arguments: dict[str, Any] | None = None, num_classes: int, in_channels: int = 3
) -> nn.Module:
    """Call `target`, such as my_package.nets.Net or my_package.nets.Net.from_pretrained, with `arguments`.

    num_classes and in_channels are passed where the signature names them; `arguments` win over both.

    Raises:
        SettingError: the path leads nowhere or to something that cannot be called, the arguments do not fit, or what
            comes back is no torch.nn.Module.
    """
    found = _resolve(target)
    if not callable(found):
        raise SettingError(f"target={target!r}: is {_kind(found)}; must be a class or a function that makes a network")
    options = {**_wanted(found, {"num_classes": num_classes, "in_channels": in_channels}), **(arguments or {})}
    _check_arguments(target, found, options)
    module = found(**options)
    if not isinstance(module, nn.Module):
        raise SettingError(f"target={target!r}: gave {_kind(module)}; must give a torch.nn.Module")
    return module


def _resolve(target: str) -> Any:
    """Import the longest part of the path that is a module, then follow the rest as attributes."""
    parts = target.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise SettingError(f"target={target!r}: must be a dotted path of Python names, such as my_package.nets.Net")
    found: Any = _import(target, parts[0])
    for i, part in enumerate(parts[1:], start=1):
        path = ".".join(parts[:i])
        if not hasattr(found, part) and isinstance(found, ModuleType) and hasattr(found, "__path__"):
            _import(target, f"{path}.{part}", optional=True)
        if not hasattr(found, part):
            raise SettingError(f"target={target!r}: {path} has no {part!r}{suggestion(part, _public(found))}")
        found = getattr(found, part)
    return found


def _import(target: str, path: str, *, optional: bool = False) -> Any:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise SettingError(
                f"target={target!r}: importing {path} failed: it needs {error.name}, which is not installed"
            ) from error
        if optional:
            return None
        raise SettingError(
            f"target={target!r}: no module named {path!r} was found; run from the folder that holds it "
            f"(now {Path.cwd()}), or put that folder on PYTHONPATH"
        ) from error


def _wanted(found: Any, offered: dict[str, int]) -> dict[str, int]:
    try:
        parameters = inspect.signature(found).parameters
    except ValueError:  # a builtin without a signature
        return {}
    return {name: value for name, value in offered.items() if name in parameters}


def _check_arguments(target: str, found: Any, options: dict[str, Any]) -> None:
    """Catch here what does not fit, so that a TypeError from inside the network keeps its own traceback."""
    try:
        signature = inspect.signature(found)
    except ValueError:
        return
    try:
        signature.bind(**options)
    except TypeError as error:
        raise SettingError(f"arguments={options}: do not fit {target}{signature}: {error}") from error


def _public(found: Any) -> list[str]:
    return [name for name in dir(found) if not name.startswith("_")]


def _kind(value: object) -> str:
    return f"of type {type(value).__module__}.{type(value).__qualname__}"
