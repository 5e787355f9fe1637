"""Directory trees of images: which folders are splits, which are classes, which files are images."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from distill.data.source import Part
from distill.errors import SettingError

WORDS: Mapping[Part, Sequence[str]] = {  # in a split folder's name, the most usual first
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "dev", "eval", "evaluation"),
    "test": ("test", "testing", "tst"),
}
AFTER = ("", "set", "data", "images", "imgs")  # what a word may have grown together with
IGNORED = ("__macosx", "@eadir", "$recycle.bin", "__pycache__", "thumbs.db", "desktop.ini")
USUAL = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp"),
    *(".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".tga", ".qoi", ".ico"),
)


def endings() -> tuple[str, ...]:
    """The usual endings of image files that Pillow can open here, plug-ins included."""
    known = Image.registered_extensions()
    return tuple(ending for ending in USUAL if known.get(ending) in Image.OPEN)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a tree keeps its classes.

    splits: the folder of classes of each split; empty where there are no split folders.
    classes: the folder of classes of a tree without splits.
    others: names of folders with images beside the split folders, which are left alone.
    notes: what the user should know of how they were found.
    """

    splits: Mapping[Part, Path]
    classes: Path
    others: Sequence[str]
    notes: Sequence[str]


def find_layout(root: Path, setting: str) -> Layout:
    """Look for split folders, whatever their spelling, and for the folders of classes, a level or more down.

    Args:
        root: an existing directory.
        setting: the setting that names it, with its value, for messages.

    Raises:
        SettingError: folders that could mean several things.
    """
    inner, notes = _unwrapped(root)
    named = _named_folders(inner, setting)
    if not named:
        return Layout({}, inner, [], notes)
    splits: dict[Part, Path] = {}
    for part, folder in named.items():
        splits[part], found = _unwrapped(folder)
        notes += found
    others = [folder.name for folder in folders(inner) if folder not in named.values() and _holds_any_image(folder)]
    if others:
        notes.append(f"left alone beside the split folders: {listed(others)}")
    return Layout(splits, inner, others, notes)


def folders(directory: Path) -> list[Path]:
    """The folders in a directory by name, without hidden ones and those that systems and tools leave behind."""
    return sorted(entry for entry in directory.iterdir() if _visible(entry.name) and entry.is_dir())


def image_files(directory: Path) -> Iterator[tuple[str, bool]]:
    """All files below a directory, in order, and whether each is an image; hidden ones left out at any depth."""
    known = endings()
    for place, _, names in sorted(_walk(directory)):
        for name in sorted(filter(_visible, names)):
            yield f"{place}{os.sep}{name}", name.lower().endswith(known)


def images_in(directory: Path) -> int:
    """How many images lie right in a directory."""
    known = endings()
    with os.scandir(directory) as entries:
        return sum(entry.name.lower().endswith(known) and _visible(entry.name) for entry in entries if entry.is_file())


def check_classes(directory: Path, setting: str) -> list[Path]:
    """The folders of the classes.

    Raises:
        SettingError: there are none, or they look like something else.
    """
    found = folders(directory)
    if not found:
        one_of_many = images_in(directory) and len(folders(directory.parent)) > 1
        above = f", so perhaps {setting.partition('=')[0]}={directory.parent}" if one_of_many else ""
        raise SettingError(f"{setting}: {directory} holds no folders; there must be one for each class{above}")
    if len(found) > 1 and not any(map(images_in, found)):
        below = [{folder.name for folder in folders(outer)} for outer in found]
        shared = sorted(set.intersection(*below))
        if len(shared) > 1:
            raise SettingError(
                f"{setting}: {listed([folder.name for folder in found])} hold no images of their own but the "
                f"same folders ({listed(shared)}): if those are the classes, rename the outer folders to train and "
                f"val, or choose one, {setting.partition('=')[0]}={found[0]}; else put the images of each class right "
                "into its folder"
            )
    return found


def left_out(counts: Counter[str]) -> list[str]:
    """A note on the files that were no images, by ending; none where there are none."""
    if not counts:
        return []
    named = [f"{counts[ending]:,} {ending}" for ending in sorted(counts, key=lambda ending: (-counts[ending], ending))]
    return [f"left out, as no images that can be read here: {listed(named, 8)}"]


def _walk(directory: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for place, below, names in os.walk(directory, followlinks=True):
        below[:] = filter(_visible, below)
        yield place, below, names


def _visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in IGNORED


def _holds_any_image(directory: Path) -> bool:
    """Whether images lie anywhere below a directory."""
    known = endings()
    return any(name.lower().endswith(known) and _visible(name) for _, _, names in _walk(directory) for name in names)


def _unwrapped(directory: Path) -> tuple[Path, list[str]]:
    """The directory, or what lies in it where that is a single folder of folders; and a note on it."""
    inner = directory
    while len(only := folders(inner)) == 1 and folders(only[0]) and not images_in(only[0]):
        inner = only[0]
    return inner, [] if inner == directory else [f"{directory} holds but one folder; taken is {inner}"]


def _named_folders(directory: Path, setting: str) -> dict[Part, Path]:
    """The split folders by split: those whose names say so, and which hold folders."""
    called: dict[Part, list[Path]] = {}
    for folder in folders(directory):
        if part := split_of(folder.name):
            called.setdefault(part, []).append(folder)
    named: dict[Part, Path] = {}
    for part, candidates in called.items():
        # A class may be called so too: it holds images, and there is no other split beside it.
        fit = [folder for folder in candidates if folders(folder) and (len(called) > 1 or not images_in(folder))]
        if fit:
            named[part] = _best(fit, part, setting)
    flat = [folder.name for part in called if part not in named for folder in called[part] if images_in(folder)]
    if "train" in called and len(called) > 1 and "train" not in named and flat:
        raise SettingError(
            f"{setting}: {listed(flat)} in {directory} hold images themselves; put those into a folder for each "
            f"class, such as {directory / flat[0] / 'CLASS'}"
        )
    return named


def split_of(name: str) -> Part | None:
    """The split that a folder's name speaks of: train of 'Training', 'seg_train', 'trainSet', 'train2017'."""
    words = {word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", name)}
    parts = (part for part, known in WORDS.items() if words & {word + after for word in known for after in AFTER})
    return next(parts, None)


def _best(candidates: Sequence[Path], part: Part, setting: str) -> Path:
    """The one that is called by the usual word."""
    ranks = {folder: WORDS[part].index(name) for folder in candidates if (name := folder.name.lower()) in WORDS[part]}
    if not ranks and len(candidates) > 1:
        raise SettingError(
            f"{setting}: {listed([folder.name for folder in candidates])} could each be the {part} split; "
            f"rename the right one to {part}"
        )
    return min(ranks, key=ranks.__getitem__) if ranks else candidates[0]


def listed(names: Sequence[str], most: int = 4) -> str:
    """Some names for a message, and dots where there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
