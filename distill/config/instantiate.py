"""From a node with a `_target_` to the object: the only caller of hydra.utils.instantiate.

Each value is checked against the signature of what it configures before anything is built, so a mistyped key or a value
of a wrong type is one line that names the setting.
"""

from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from distill.config.checking import check_node, located, parameters_of
from distill.errors import SettingError

T = TypeVar("T")


def instantiate(config: DictConfig, where: str, expected: type[T], **given: Any) -> T:
    """Build what a config describes.

    Args:
        config: a node with `_target_`.
        where: its path in the configuration, for messages: `method.kd`.
        expected: the type that must come out.
        given: arguments that come from the run rather than from the user; those that the target doesn't take are
            left out.

    Raises:
        SettingError: an unknown or missing key, a value of a wrong type or out of range, a target that doesn't exist.
    """
    built = instantiate_any(config, where, **given)
    if not isinstance(built, expected):
        raise SettingError(
            f"{where}._target_={config._target_}: builds a {type(built).__name__}, not a {expected.__name__}"
        )
    return built


def instantiate_any(config: DictConfig, where: str, **given: Any) -> Any:
    """As `instantiate`, for what may be of any type."""
    target = locate(config, where)
    parameters = parameters_of(target)
    given = {name: value for name, value in given.items() if name in parameters}
    check_node(config, where, target, given.keys())
    try:
        return hydra.utils.instantiate(config, _convert_="all", **given)
    except InstantiationException as error:
        raise SettingError(located(where, error.__cause__ or error)) from error


def locate(config: DictConfig, where: str) -> Any:
    """What a node's `_target_` names; SettingError where it cannot be imported."""
    path = config.get("_target_")
    if not isinstance(path, str):
        raise SettingError(f"{where} has no _target_: the dotted path of what to build")
    try:
        return hydra.utils.get_object(path)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise SettingError(
            f"{where}._target_={path}: cannot be imported ({reason}); run from the folder that holds it (now "
            f"{Path.cwd()}), or put that folder on PYTHONPATH"
        ) from error


def kind_of(config: DictConfig, where: str, expected: type[T]) -> type[T]:
    """The class that a node builds, for what is known of all of its kind; `expected` where it names a function."""
    target = locate(config, where)
    return target if isinstance(target, type) and issubclass(target, expected) else expected
