"""A configuration as dotted paths and values, and where two of them differ."""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill.config.checking import join


def without_part(file: str) -> str:
    """FILE of FILE#PART, which is how one of several networks in a file is named."""
    return file.rpartition("#")[0] or file


def flat(config: Any, place: str = "") -> dict[str, Any]:
    """Every value of a configuration, resolved, by its dotted path; lists and empty mappings are values."""
    if isinstance(config, DictConfig):
        config = OmegaConf.to_container(config, resolve=True)
    if not isinstance(config, Mapping) or (place and not config):
        return {place: config}
    return {path: value for key, item in config.items() for path, value in flat(item, join(place, str(key))).items()}


def differences(one: Any, other: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Where two nested mappings differ: path, and the value in each; None for none."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        if one != other:
            yield place, one, other
        return
    for name in dict.fromkeys((*one, *other)):
        yield from differences(one.get(name), other.get(name), join(place, str(name)))
