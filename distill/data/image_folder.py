"""Any directory tree with one folder of images for each class."""

import hashlib
import logging
import os
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from distill.data.folders import Layout, check_classes, endings, find_layout, image_files, images_in, left_out, listed
from distill.data.loading import Handling, InMemory, OnError, load
from distill.data.order import share_of_each_class
from distill.data.parts import wanted
from distill.data.pixels import pixels_of
from distill.data.source import ImageSource, Only, Part
from distill.errors import SettingError

log = logging.getLogger(__name__)


def image_folder(
    root: str,
    val_fraction: float | None = None,
    channels: int = 3,
    image_size: int | None = None,
    resize: int | None = None,
    in_memory: InMemory = "auto",
    on_error: OnError = "stop",
    only: Only | None = None,
) -> ImageSource:
    """Images from root/train/CLASS/... and root/val/CLASS/..., or from root/CLASS/... split by a fraction.

    Args:
        root: the directory. Split folders may be called otherwise too, such as Training, valid or seg_test. A test
            folder beside a validation folder is the test split; alone, it validates.
        val_fraction: share of each class of the training images that validates, always the same images; None where
            there is a validation or test folder.
        channels: 3 for colour, 1 for grey.
        image_size, resize, in_memory, on_error: see `distill.data.loading.Handling`.
        only: the one split that is wanted, which then stands for all; of a root without split folders, all images.

    Raises:
        SettingError: no such directory, no classes or images in it, a class without images (unless on_error is
            "skip"), classes that differ between train and val, an image that cannot be read.
        ValueError: a setting out of its range.
    """
    handling = Handling(image_size, resize, in_memory, on_error)
    if channels not in (1, 3):
        raise ValueError(f"channels={channels}: must be 3 for colour or 1 for grey")
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction={val_fraction}: must be above 0 and below 1")
    setting, directory = f"data.root={root}", Path(str(root)).expanduser()
    if not directory.is_dir():
        raise SettingError(f"{setting}: no such directory; give one that holds train/CLASS/ or CLASS/ folders")
    layout = find_layout(directory, setting)
    folders = _used_folders(layout, setting, val_fraction, only)
    counts: Counter[str] = Counter()
    scans = {part: _scan(setting, folder, channels, handling, counts) for part, folder in folders.items()}
    beside = {folder: count for folder in folders.values() if (count := images_in(folder))}
    strays = (f"left alone, as of no class: {count:,} images right in {folder}" for folder, count in beside.items())
    names, notes = next(iter(scans.values())).names, [*layout.notes, *left_out(counts), *strays]
    if "test" in scans and (unknown := set(scans["test"].names) - set(names)):
        notes.append(f"{scans.pop('test').directory} is not scored: other classes, e.g. {listed(sorted(unknown))}")
    parts = {part: _renumbered(setting, scan, names, part) for part, scan in scans.items()}
    if val_fraction is not None:
        parts = wanted(_divided(parts, val_fraction), only, setting)
    return load(directory.absolute().name, parts, names, handling, notes=notes)


def _used_folders(layout: Layout, setting: str, val_fraction: float | None, only: Only | None) -> dict[Part, Path]:
    """The folders of classes that are to be read, by split; the training one first."""
    splits = dict(layout.splits)
    if only is not None and val_fraction is None:
        return wanted(splits, only, setting) if splits else {"val": layout.classes}
    if splits and "train" not in splits:
        beside = f", beside folders such as {layout.others[0]}" if layout.others else ""
        raise SettingError(
            f"{setting}: {next(iter(splits.values()))} looks like a split{beside}; put the training classes into "
            f"{layout.classes / 'train'}"
        )
    if val_fraction is not None:
        if unused := splits.pop("val", None):
            log.warning("data.val_fraction=%s: a share of train/ validates, and %s is not used", val_fraction, unused)
        return {"train": splits.pop("train", layout.classes), **splits}
    if "val" not in splits and "test" in splits:
        splits["val"] = splits.pop("test")
    if {"train", "val"} - {*splits}:
        raise SettingError(
            f"{setting}: holds no train/ and val/ folders of classes; "
            "set data.val_fraction, e.g. to 0.1, to split one folder of classes"
        )
    return {part: splits[part] for part in typing.get_args(Part) if part in splits}


def _divided(parts: Mapping[Part, "ImageFiles"], val_fraction: float) -> dict[Part, "ImageFiles"]:
    """A share of each class of the training files as the validation split."""
    train = parts["train"]
    held = share_of_each_class(train.targets, val_fraction, seed=0)
    rest = torch.ones(len(train.targets), dtype=torch.bool).index_fill(0, held, False).nonzero().flatten()
    return {**parts, "train": train.select(rest), "val": train.select(held)}


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Image files with labels.

    paths: (N,) bytes, one array rather than a million objects that each worker process would come to copy.
    targets: (N,) int64.
    channels: 3 for colour, 1 for grey.
    """

    paths: npt.NDArray[np.bytes_]
    targets: Tensor
    channels: int

    def read(self, index: int) -> Tensor:
        """(C, H, W) uint8."""
        with Image.open(self.name(index)) as image:
            return pixels_of(image, self.channels)

    def name(self, index: int) -> str:
        """The path."""
        return os.fsdecode(self.paths[index])

    @property
    def version(self) -> str:
        """Changes when a file does: of all names within their folders, sizes and times."""
        hasher = hashlib.sha256()
        for path in map(os.fsdecode, self.paths):
            about = Path(path).stat()
            hasher.update(f"{'/'.join(Path(path).parts[-2:])} {about.st_size} {about.st_mtime_ns}".encode())
        return hasher.hexdigest()

    def select(self, indices: Tensor) -> "ImageFiles":
        """Some of the files."""
        return ImageFiles(self.paths[indices.numpy()], self.targets[indices], self.channels)


class _Scan(NamedTuple):
    """What lies in a folder of classes."""

    directory: Path
    names: list[str]
    files: ImageFiles


def _scan(setting: str, directory: Path, channels: int, handling: Handling, counts: Counter[str]) -> _Scan:
    """The classes of a directory, in the order of their names, and their files; other files are counted by ending."""
    classes = check_classes(directory, setting)
    paths: list[bytes] = []
    targets: list[int] = []
    for number, folder in enumerate(classes):
        before = len(paths)
        for path, is_image in image_files(folder):
            if is_image:
                paths.append(os.fsencode(path))
            else:
                counts[Path(path).suffix.lower() or "without an ending"] += 1
        targets += [number] * (len(paths) - before)
    if not paths:
        found = f"; there are {listed([*counts])}" if counts else ""
        raise SettingError(f"{setting}: {directory} holds no images{found}; known are {', '.join(endings())}")
    for number in sorted(set(range(len(classes))) - set(targets)):
        message = f"{setting}: the class folder {classes[number]} holds no images"
        if handling.on_error == "stop":
            raise SettingError(f"{message}; fill or remove it, or go on without with data.on_error=skip")
        log.warning("%s; the class stays, without samples", message)
    files = ImageFiles(np.array(paths), torch.tensor(targets), channels)
    return _Scan(directory, [folder.name for folder in classes], files)


def _renumbered(setting: str, scan: _Scan, names: Sequence[str], part: Part) -> ImageFiles:
    """Files with their classes numbered as in the training split; a test split may lack some of these."""
    different = set(names) - set(scan.names) if part == "val" else set()
    different |= set(scan.names) - set(names)
    if different:  # of a validation split
        raise SettingError(
            f"{setting}: the training folder and {scan.directory.name}/ hold different classes, "
            f"e.g. {sorted(different)[:3]}; each must have a folder in both"
        )
    places = {name: number for number, name in enumerate(names)}
    numbers = torch.tensor([places[name] for name in scan.names])
    return replace(scan.files, targets=numbers[scan.files.targets])
