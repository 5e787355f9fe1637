"""Which code settings may name that came with a file: a run's directory may be a stranger's.

What the user types in a command is the user's own word. What stands in a run's config.yaml and in its student.json is
looked up here before anything is imported or called for it.
"""

import inspect
import pkgutil
import typing
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from torch import nn

from distill.config.checking import join
from distill.errors import SettingError

KNOWN = (
    "distill.data", "distill.losses", "distill.methods", "distill.models", "distill.schedules", "distill.tasks",
    "distill.teachers", "distill.training", "distill.experiment.pruning",
    "torch.nn", "torch.optim", "torchvision.models", "timm", "transformers", "peft",
    "pytorch_lightning.Trainer", "pytorch_lightning.trainer", "pytorch_lightning.callbacks",
    "pytorch_lightning.loggers",
)  # fmt: skip
"""Where code may lie that a stranger's file names."""
BUT = ("distill.models.exported",)  # torch.export's files can hold pickled objects
NETWORKS_ALONE = ("timm", "transformers", "peft")  # of which nothing but networks is built
LOADERS = ("from_pretrained", "from_config")  # methods of classes, which make networks
TARGETS = ("_target_", "target")  # keys that name code; the second of distill.models.custom and distill.data.custom
REFUSED = ("_args_", "trust_remote_code")  # keys: what they hand over could not be looked up


def check_trusted(settings: Any, place: str, origin: str, trusted: Collection[str]) -> bool:
    """Refuse settings that name code which is neither known nor trusted.

    Args:
        settings: plain values that came with a file.
        place: of them in the configuration, for messages.
        origin: where they are from, for messages.
        trusted: packages, modules or whole dotted paths that the user trusts.

    Returns:
        Whether they name code that is trusted and not known: the user's own.

    Raises:
        SettingError: it names the first such code, and what would allow it.
    """
    own = False
    for where, key, value in _named(settings, place):
        if key in REFUSED:
            raise SettingError(f"{where}={value!r}: is not taken from {origin}; leave it out there")
        if not isinstance(value, str) or not all(part.isidentifier() for part in value.split(".")):
            raise SettingError(f"{where}={value!r}: of {origin}: must be a dotted path of Python names")
        if _lies_in(value, trusted):
            own = own or not _lies_in(value, KNOWN)
        elif not _is_known(value):
            raise SettingError(
                f"{where}={value}: is not run, for it comes from {origin} and is none of what this package builds "
                f"from; if you know that code and trust it, add trust={value.rpartition('.')[0] or value}"
            )
    return own


def names(trust: Any) -> tuple[str, ...]:
    """The setting `trust`: a name, or several; SettingError where it is something else."""
    listed = [trust] if isinstance(trust, str) else list(trust or ()) if not isinstance(trust, int | float) else [trust]
    for name in listed:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise SettingError(f"trust={name}: must be the name of a package, such as my_package, or a list of such")
    return tuple(listed)


def targets(settings: Any) -> set[str]:
    """All code that settings name."""
    return {value for _, key, value in _named(settings, "") if key in TARGETS and isinstance(value, str)}


def _named(settings: Any, place: str) -> Iterator[tuple[str, str, Any]]:
    """Place, key and value of all that names code, or must not be there, at any depth."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            where = join(place, str(key))
            # `target` is a word that others use too, for what is no dotted path
            dotted = key in TARGETS and isinstance(value, str) and "." in value
            if key == "_target_" or dotted or (key in REFUSED and value):
                yield where, str(key), value
            yield from _named(value, where)
    elif isinstance(settings, list | tuple):
        for number, value in enumerate(settings):
            yield from _named(value, f"{place}[{number}]")


def _lies_in(path: str, places: Collection[str]) -> bool:
    return any(path == place or path.startswith(f"{place}.") for place in places)


def _is_known(path: str) -> bool:
    """Whether it is a class of known code, or a function there that says it gives one of its objects.

    A path through a known package can lead out of it (distill.models.cnn.sys.exit), and not all that lies there is
    harmless (torch.nn.init writes to tensors, and others read pickles): so what is found is looked at too.
    """
    if not _lies_in(path, KNOWN) or _lies_in(path, BUT) or any(part.startswith("_") for part in path.split(".")):
        return False
    try:
        found = pkgutil.resolve_name(path)
    except Exception:
        return find_spec(path.partition(".")[0]) is None  # not installed: whoever builds it tells that
    home = str(getattr(found, "__module__", ""))
    if not _lies_in(home, KNOWN) or _lies_in(home, BUT):
        return False
    if inspect.isclass(found):
        return issubclass(found, nn.Module) or not _lies_in(home, NETWORKS_ALONE)
    if inspect.isclass(owner := getattr(found, "__self__", None)):
        return found.__name__ in LOADERS and _lies_in(str(owner.__module__), KNOWN)
    return inspect.isfunction(found) and _gives_an_object(found)


def _gives_an_object(function: Any) -> bool:
    try:
        given = typing.get_type_hints(function).get("return")
    except Exception:  # of names that are known to type checkers alone
        return False
    return inspect.isclass(given) and _lies_in(given.__module__, ("torch.nn", *KNOWN))
