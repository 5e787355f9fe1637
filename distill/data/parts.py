"""The splits that files hold: which of them are wanted, and whether their classes agree."""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TypeVar

from torch import Tensor

from distill.data.source import Only, Part
from distill.data.split import Split
from distill.data.stream import Relabelled, Stream
from distill.errors import SettingError

T = TypeVar("T")


def check_same_classes(names: Mapping[Part, Sequence[str]], setting: str) -> None:
    """Raise SettingError if splits call their classes differently, so that a number doesn't mean the same in all."""
    known = [*names.values()]
    for part, own in names.items():
        if [*own] != [*known[0]]:
            here, there = next(pair for pair in zip_longest(own, known[0], fillvalue="none") if pair[0] != pair[1])
            raise SettingError(
                f"{setting}: the classes of {part} are not those of {next(iter(names))}, such as {here} in place of "
                f"{there}; must be the same in the same order"
            )


def relabelled(split: Split | Stream, targets: Tensor) -> Split | Stream:
    """The images with other labels, one for each."""
    if isinstance(split, Split):
        return replace(split, targets=targets)
    return replace(split, source=Relabelled(split.source, targets))


def wanted(found: Mapping[Part, T], only: Only | None, setting: str) -> dict[Part, T]:
    """Those of the splits found that are asked for.

    Args:
        found: what there is, by name.
        only: which alone is wanted; None: all.
        setting: the setting that says where the data is, with its value, for the message.

    Raises:
        SettingError: there is no such split.
    """
    if only is None:
        return dict(found)
    part = next((part for part in ("val", "test", "train") if part in found), None) if only == "any" else only
    if part is None or part not in found:
        known = [name for name in typing.get_args(Part) if name in found]
        raise SettingError(f"split={only}: {setting} has no such split, but {', '.join(known) or 'none'}")
    return {part: found[part]}
