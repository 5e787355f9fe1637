"""Maps a network's outputs to the data's classes, as the user chooses or by class names."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from distill.errors import SettingError, suggestion
from distill.models import imagenet

Choice = Sequence[int | str] | str


def choose(chosen: Choice, wanted: Sequence[str], known: Sequence[str] | None, count: int) -> tuple[int, ...]:
    """Return the outputs that a setting names, in the order of the data's classes.

    Args:
        chosen: a list of indices, names or WordNet ids, or a file with one of these on each line.
        wanted: names of the data's classes.
        known: names of the network's outputs; None where they are not known. 1000 are then taken for ImageNet's.
        count: of the network's outputs.

    Raises:
        SettingError: not one for each class of the data, one that is not there, one twice, or another order.
    """
    entries = _listed(chosen)
    if len(entries) != len(wanted):
        raise SettingError(
            f"classes: names {len(entries)} outputs, and the data has {len(wanted)} classes: give one for each, in the "
            f"data's order ({_some(wanted)})"
        )
    known = known or _imagenets(count)
    places = _places(known or ())
    outputs = tuple(_output(entry, places, known, count) for entry in entries)
    twice = next((entries[place] for place, output in enumerate(outputs) if output in outputs[:place]), None)
    if twice is not None:
        raise SettingError(f"classes: {twice} stands there twice")
    ours, theirs = [_key(name) for name in wanted], [_key(str(entry)) for entry in entries]
    if ours != theirs and sorted(ours) == sorted(theirs):
        raise SettingError(f"classes: are the data's in another order; the data's is {_some(wanted)}")
    return outputs


def match(wanted: Sequence[str], known: Sequence[str] | None, count: int) -> tuple[int, ...] | None:
    """Return the outputs that are called as the data's classes are, or by their WordNet ids; None unless all are.

    Args:
        wanted: names of the data's classes.
        known: names of the network's outputs; None where they are not known. 1000 are then taken for ImageNet's.
        count: of the network's outputs.
    """
    known, numbers = known or _imagenets(count), [str(place) for place in range(len(wanted))]
    if known is None or list(wanted) == numbers:  # numbers in place of names say nothing
        return None
    places = _places(known)
    found = [_find(name, places) for name in wanted]
    outputs = tuple(place for place in found if place is not None)
    return outputs if len(set(outputs)) == len(wanted) else None


def _imagenets(count: int) -> tuple[str, ...] | None:
    """What the outputs of a network that says nothing of them are called, if there are as many as ImageNet's."""
    return imagenet.names() if count == imagenet.COUNT else None


def _listed(chosen: Choice) -> list[int | str]:
    if not isinstance(chosen, str):
        return list(chosen)
    file = Path(chosen).expanduser()
    if not file.is_file():
        raise SettingError(
            f"classes={chosen}: no such file; give a file with an index, a name or a WordNet id on each line, or a "
            "list such as [0,217,482]"
        )
    return [line.strip() for line in file.read_text().splitlines() if line.strip()]


def _output(entry: int | str, places: dict[str, int | None], known: Sequence[str] | None, count: int) -> int:
    if isinstance(entry, int) or entry.isdecimal():
        if int(entry) >= count or int(entry) < 0:
            raise SettingError(f"classes: {entry} is no output of a network that has {count}, 0 to {count - 1}")
        return int(entry)
    found = _find(entry, places)
    if found is None and known is None:
        raise SettingError(
            f"classes: {entry!r} is a name, and what the network's {count} outputs are called is not known: give "
            f"indices from 0 to {count - 1}"
        )
    if found is None:
        raise SettingError(f"classes: no output is called {entry!r}{suggestion(entry, known or ())}"[:400])
    return found


def _find(name: str, places: dict[str, int | None]) -> int | None:
    found = places.get(_key(name))
    return found if found is not None else places.get(_key(name.split(",")[0]))


def _places(known: Sequence[str]) -> dict[str, int | None]:
    """By key, the place of a name; None for keys that several names have."""
    places: dict[str, int | None] = {}
    for place, name in enumerate(known):
        for key in {_key(name), _key(name.split(",")[0])}:
            places[key] = None if key in places else place
    return places


def _key(name: str) -> str:
    """A name as it is compared: a WordNet id stands for ImageNet's name, letters and digits alone count."""
    name = _named().get(name.strip(), name)
    return "".join(filter(str.isalnum, name.lower())) or name


@cache
def _named() -> dict[str, str]:
    return dict(zip(imagenet.wordnet_ids(), imagenet.names(), strict=True))


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:4])) + (", ..." if len(names) > 4 else "")
