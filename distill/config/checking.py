"""A config node against the signature of what it configures: unknown, missing and mistyped settings, a line each."""

import inspect
import itertools
import shlex
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from typeguard import TypeCheckError, check_type

from distill.errors import SettingError, quoted, suggestion

IN_WORDS: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
IN_PLURAL: dict[Any, str] = {int: "whole numbers", float: "numbers", str: "texts"}


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
    check_given(config, where)
    values: Any = OmegaConf.to_container(config, resolve=True)
    parameters = parameters_of(target)
    named = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    hints = _hints(target)
    for name in (str(name) for name in values if not str(name).startswith("_")):
        if name not in named and not open_ended:
            known = [join(where, other) for other in named - {*given}]
            raise SettingError(f"{join(where, name)} is not a setting{suggestion(join(where, name), known)}")
        if name in hints and not isinstance(values[name], Mapping):
            check_value(join(where, name), values[name], hints[name])
    missing = [n for n in named if parameters[n].default is inspect.Parameter.empty and n not in {*values, *given}]
    if missing and not config.get("_partial_"):
        name = join(where, missing[0])
        taken_by = f"; {join(where, '_target_')}={path} takes it" if (path := config.get("_target_")) else ""
        raise SettingError(f"{name} is not set: give {name}=VALUE{taken_by}")


def check_given(config: DictConfig, where: str) -> None:
    """Raise SettingError for the first value that is left to the user and not given."""
    for name in sorted(OmegaConf.missing_keys(config)):
        raise SettingError(f"{join(where, name)} is not set: give {join(where, name)}=VALUE")


def check_value(where: str, value: Any, hint: Any) -> None:
    """Raise SettingError unless the value is of the hinted type."""
    accepted = {hint, *typing.get_args(hint)}
    try:
        check_type(value, hint)
        if isinstance(value, bool) and accepted & {int, float} and bool not in accepted:
            raise TypeCheckError("Python counts True among the numbers; nobody who writes it means one")
    except TypeCheckError:
        advice = ""
        if str in accepted and isinstance(value, int | float):
            advice = f"; quotes make it one: {shlex.quote(f'{where}={quoted(str(value))}')}"
        raise SettingError(f"{where}={value!r}: must be {_described(hint)}{advice}") from None


def parameters_of(target: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a class or function; none where Python can't tell."""
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def located(where: str, error: BaseException) -> str:
    """An error's message with its place: `temperature=0: must ...` in `method.kd` is of `method.kd.temperature`."""
    of_lightning = type(error).__name__ == "MisconfigurationException"  # by its name: the import takes seconds
    plain = isinstance(error, ValueError | TypeError) or of_lightning
    message = str(error) if plain else f"{type(error).__name__}: {error}"
    if isinstance(error, SettingError) and message.startswith(where):
        return message
    name, equals, _ = message.partition("=")
    return join(where, message) if equals and name.isidentifier() else f"{where or 'configuration'}: {message}"


def join(where: str, name: str) -> str:
    """A key's full path."""
    return f"{where}.{name}" if where else name


def _described(hint: Any) -> str:
    """A type in words: 'int', 'one of batchmean, sum', 'a number or null', 'a list of texts'."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return "null"
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (typing.Union, types.UnionType):
        if bool in arguments and any(typing.get_origin(argument) is typing.Literal for argument in arguments):
            words = (
                ("true", "false") if each is bool else typing.get_args(each) or [_described(each)] for each in arguments
            )
            return f"one of {', '.join(map(str, itertools.chain(*words)))}"
        return " or ".join(dict.fromkeys(map(_described, arguments)))
    if origin is not None and arguments:
        each = [IN_PLURAL.get(argument) or _described(argument) for argument in arguments]
        return f"a {'mapping' if issubclass(origin, Mapping) else 'list'} of {' to '.join(each)}"
    return IN_WORDS.get(hint) or str(getattr(hint, "__name__", hint))


def _hints(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception:  # hints of other people's code that don't resolve: leave the checking to the code itself
        return {}
