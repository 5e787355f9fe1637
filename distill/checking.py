"""A config node against the signature of what it configures: unknown, missing and mistyped settings, a line each."""

import inspect
import typing
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from typeguard import TypeCheckError, check_type

from distill.errors import SettingError, suggestion


def check_node(config: DictConfig, where: str, target: Any, given: Collection[str]) -> None:
    """Check a node's keys and the types of their values against its target's signature.

    Args:
        config: the node; keys that begin with an underscore are Hydra's.
        where: its path in the configuration, for messages.
        target: the class or function.
        given: names of arguments that come from the run rather than from the node.

    Raises:
        SettingError: the first key that is unknown, missing or of a wrong type.
    """
    values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    parameters = parameters_of(target)
    named = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    hints = _hints(target)
    for name in (str(name) for name in values if not str(name).startswith("_")):
        if name not in named and not open_ended:
            raise SettingError(f"{join(where, name)} is not a setting{suggestion(name, named - {*given})}")
        if name in hints and not isinstance(values[name], Mapping):
            check_value(join(where, name), values[name], hints[name])
    missing = [n for n in named if parameters[n].default is inspect.Parameter.empty and n not in {*values, *given}]
    if missing and not config.get("_partial_"):
        raise SettingError(f"{join(where, missing[0])} is not set: give {join(where, missing[0])}=VALUE")


def check_value(where: str, value: Any, hint: Any) -> None:
    """Raise SettingError unless the value is of the hinted type."""
    try:
        check_type(value, hint)
    except TypeCheckError:
        wanted = hint.__name__ if inspect.isclass(hint) else str(hint)
        for module in ("typing.", "collections.abc."):
            wanted = wanted.replace(module, "")
        raise SettingError(f"{where}={value!r}: must be of type {wanted}, and is a {type(value).__name__}") from None


def parameters_of(target: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a class or function; none where Python can't tell."""
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def located(where: str, error: BaseException) -> str:
    """An error's message with its place: `temperature=0: must ...` in `method.kd` is of `method.kd.temperature`."""
    message = str(error) if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: {error}"
    if isinstance(error, SettingError) and message.startswith(where):
        return message
    name, equals, _ = message.partition("=")
    return join(where, message) if equals and name.isidentifier() else f"{where or 'configuration'}: {message}"


def join(where: str, name: str) -> str:
    """A key's full path."""
    return f"{where}.{name}" if where else name


def _hints(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception:  # hints of other people's code that don't resolve: leave the checking to the code itself
        return {}
