"""Nodes of the configuration: the framework's own keys, read and checked, and what goes to a node's target."""

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from omegaconf import DictConfig, OmegaConf

from distill.config.checking import check_given, check_value, join, located
from distill.errors import SettingError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Node(Generic[T]):
    """A node of the configuration that builds something.

    where: its path, for messages: 'teacher'.
    own: the framework's own settings in it.
    target: the others, with their `_target_`: for `distill.config.build` alone.
    """

    where: str
    own: T
    target: DictConfig


def node(config: DictConfig, where: str, cls: type[T]) -> Node[T]:
    """What a node of the configuration says, checked.

    Raises:
        SettingError: as `read`.
    """
    return Node(where, read(config, where, cls), without(config, cls))


def read(config: DictConfig, where: str, cls: type[T]) -> T:
    """The framework's own keys of a node.

    Raises:
        SettingError: a value that is not given, of a wrong type or out of range.
    """
    check_given(config, where)
    values: Any = OmegaConf.to_container(config, resolve=True)
    chosen = {field.name: values[field.name] for field in _fields(cls) if field.name in values}
    hints = typing.get_type_hints(cls)
    for name, value in chosen.items():
        check_value(join(where, name), value, hints[name])
    try:
        return cls(**chosen)
    except ValueError as error:
        raise SettingError(located(where, error)) from error


def without(config: DictConfig, cls: type) -> DictConfig:
    """The node without the framework's own keys: what goes to its target."""
    kept = OmegaConf.create({})
    own = [field.name for field in _fields(cls) if not field.metadata.get("passed_on")]
    for name in config:
        if name not in own:
            kept[name] = config._get_node(name)
    return kept


def _fields(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls)
