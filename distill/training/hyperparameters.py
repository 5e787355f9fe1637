"""A method and an optimizer as plain values, for loggers and checkpoints; and a method back from them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill import methods
from distill.methods import Composite, Method

Plain = bool | int | float | str | None


def described(method: Method) -> dict[str, Any]:
    """A method's name and the plain values that it was made with; of a Composite, each member's by its name."""
    if isinstance(method, Composite):
        return {name: described(member) for name, member in zip(method.methods, method.members, strict=True)}
    switches = {"standardize_logits": True} if method.standardize_logits else {}
    return {"name": type(method).__name__, **plain(method.arguments), **switches}


def as_method(given: Method | Sequence[Method] | Mapping[str, Any]) -> Method:
    """One method of: itself; several in a list, or in a dict by name; what `described` made of any of them.

    Raises:
        ValueError: nothing in it, or the description of a method that isn't one of `distill.methods`.
    """
    if isinstance(given, Method):
        return given
    if not given:
        raise ValueError(f"method={given!r}: give at least one method")
    if isinstance(given, Mapping):
        if isinstance(given.get("name"), str):
            return _rebuilt(dict(given))
        return Composite({name: as_method(each) for name, each in given.items()})
    named: dict[str, Method] = {}
    for each in given:
        name = type(each).__name__.lower()
        named[name if name not in named else f"{name}{len(named) + 1}"] = each
    return Composite(named)


def _rebuilt(values: dict[str, Any]) -> Method:
    name, standardize = values.pop("name"), values.pop("standardize_logits", False)
    known = getattr(methods, name, None) if name in methods.__all__ else None
    if not (isinstance(known, type) and issubclass(known, Method)):
        raise ValueError(f"method={name}: is none of distill.methods; pass the method itself, method={name}(...)")
    method = known(**values)
    method.standardize_logits = standardize
    return method


def optimizer_settings(factory: Callable[..., Any]) -> dict[str, Any]:
    """The optimizer's name and plain values, of a class or of a `functools.partial` of one."""
    made = getattr(factory, "func", factory)
    return {"name": getattr(made, "__name__", type(made).__name__), **plain(getattr(factory, "keywords", {}))}


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are numbers, words, or lists of them."""
    lists = {name: list(value) if isinstance(value, tuple | list) else value for name, value in values.items()}
    return {
        name: value
        for name, value in lists.items()
        if isinstance(value, Plain) or (isinstance(value, list) and all(isinstance(part, Plain) for part in value))
    }
