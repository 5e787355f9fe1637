"""A directory of images beside their masks: root/(train|val|test)/images/STEM.* and masks/STEM.*."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from distill.data.folders import folders, image_files, split_of
from distill.data.image_folder import ImageFiles
from distill.data.loading import OWN_SIZE_LIMIT, Handling, InMemory, OnError, load
from distill.data.parts import wanted
from distill.data.pixels import size_of
from distill.data.source import ImageSource, Only, Part
from distill.data.stream import fitting
from distill.errors import SettingError
from distill.tasks import SemanticSegmentation

log = logging.getLogger(__name__)

DEFAULT_SIZE = 320
INDEX_MODES = ("P", "L", "1", "I", "I;16", "I;16B", "I;16L", "I;16N")  # of masks whose values are classes


def segmentation_folder(
    root: str,
    classes: str | list[str] | None = None,
    ignore_index: int = 255,
    channels: int = 3,
    image_size: int | None = None,
    in_memory: InMemory = "auto",
    on_error: OnError = "stop",
    only: Only | None = None,
) -> ImageSource:
    """Images with masks: PNG files with a palette or in grey, the value of a pixel being the number of its class.

    Images that have not all one size of at most 256 pixels are scaled until they fit whole into a square, and padded;
    masks go the same way by their nearest pixels, and what is padded doesn't count.

    Args:
        root: the directory.
        classes: their names in the order of their numbers, or a file with one on each line; None: root/classes.txt, or
            without that file the numbers that the masks hold.
        ignore_index: in masks, a pixel that doesn't count.
        channels: 3 for colour, 1 for grey.
        image_size: side of the square in pixels; None: the images' own size, where all have one of at most 256 pixels,
            else 320.
        in_memory: keep all scaled images as bytes, on the training device; "auto": if that takes at most 2 GiB.
        on_error: at an image or a mask that cannot be read or do not belong together, "stop", or "skip" both.
        only: the one split that is wanted, which then stands for all.

    Raises:
        SettingError: no such directory, nothing in it of this form, an image without mask, a mask of another size than
            its image, or a value in it that is no class.
        ValueError: a setting out of its range.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels={channels}: must be 3 for colour or 1 for grey")
    if not 0 <= ignore_index <= 255:
        raise ValueError(f"ignore_index={ignore_index}: must be a value of a mask, 0 to 255")
    handling = Handling(image_size, None, in_memory, on_error, letterbox=True)
    setting, directory = f"data.root={root}", Path(str(root)).expanduser()
    if not directory.is_dir():
        raise SettingError(f"{setting}: no such directory; give one with train/images and train/masks, val/images, ...")
    directory, splits = _splits(directory, setting)
    skip = on_error == "skip"
    faults: list[str] = []
    found = {part: _pairs(folder, setting, faults) for part, folder in wanted(splits, only, setting).items()}
    size = _size([pair for pairs in found.values() for pair in pairs], image_size)
    names = _names(classes, directory)
    count = None if names is None else len(names)
    read = {part: _masks(pairs, count, ignore_index, size, faults) for part, pairs in found.items()}
    if faults and not skip:
        raise SettingError(f"data: {faults[0]}; mend it, or leave such images out with data.on_error=skip")
    if empty := next((part for part, (pairs, _) in read.items() if not pairs), None):
        raise SettingError(f"{setting}: of the {empty} split no image with a mask can be read, e.g. {faults[0]}")
    names = names or _numbers([masks for _, masks in read.values()], ignore_index)
    parts = {part: _files(pairs, masks, channels) for part, (pairs, masks) in read.items()}
    for message in faults:
        log.info("left out: %s", message)
    notes = [f"left out: {len(faults)} images with their masks, e.g. {faults[0]}"] if faults else []
    task = SemanticSegmentation(ignore_index)
    if size[0] == size[1]:  # else the images' own
        handling = replace(handling, image_size=size[0])
    return load(directory.absolute().name, parts, names, handling, notes=notes, task=task)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The paths of an image and of its mask, and their height and width in pixels."""

    image: str
    mask: str
    size: tuple[int, int]


class _MaskError(ValueError):
    """What is wrong with a mask, in words that come after its path."""


def _splits(directory: Path, setting: str) -> tuple[Path, dict[Part, Path]]:
    """The directory, or the one folder in it, as archives have it; and the folder of each split."""
    only = folders(directory)
    if len(only) == 1 and split_of(only[0].name) is None:
        directory = only[0]
    splits = {part: folder for folder in folders(directory) if (part := split_of(folder.name))}
    for part, folder in splits.items():
        if missing := next((name for name in ("images", "masks") if not (folder / name).is_dir()), None):
            raise SettingError(f"{setting}: the {part} split {folder} holds no folder {missing}")
    if "val" not in splits and "test" in splits:
        splits["val"] = splits.pop("test")
    if missing := next((part for part in ("train", "val") if part not in splits), None):
        raise SettingError(
            f"{setting}: has no folder {missing}; images and masks are to lie in train/images, train/masks, val/images "
            "and val/masks"
        )
    order: tuple[Part, ...] = ("train", "val", "test")
    return directory, {part: splits[part] for part in order if part in splits}


def _names(classes: str | list[str] | None, directory: Path) -> list[str] | None:
    """As they are given, or read from a file; None where nobody says."""
    if isinstance(classes, list):
        return classes
    file = directory / "classes.txt" if classes is None else Path(classes).expanduser()
    if not file.is_file():
        if classes is None:
            return None
        raise SettingError(
            f"data.classes={classes}: no such file; give names, [road,sky], or a file with one on each line"
        )
    names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not names:
        raise SettingError(f"data.classes={file}: holds no names; there must be one on each line")
    return names


def _numbers(masks: Sequence[Tensor], ignored: int) -> list[str]:
    """The classes that masks hold, by their numbers."""
    most = max(int(one[one != ignored].max()) if (one != ignored).any() else 0 for one in masks)
    return [str(number) for number in range(most + 1)]


def _pairs(folder: Path, setting: str, faults: list[str]) -> list[_Pair]:
    """The images of a split that have a mask, by name; what is wrong with others goes to `faults`."""
    known = {Path(path).stem: path for path, is_image in image_files(folder / "masks") if is_image}
    found = []
    for path, is_image in image_files(folder / "images"):
        if not is_image:
            continue
        mask = known.get(Path(path).stem)
        if mask is None:
            faults.append(f"{path} has no mask {folder / 'masks' / Path(path).stem}.png")
            continue
        try:
            found.append(_Pair(path, mask, size_of(path)))
        except OSError as error:
            faults.append(f"{path} cannot be read ({type(error).__name__})")
    if not found and not faults:
        raise SettingError(f"{setting}: {folder / 'images'} holds no images")
    return found


def _size(pairs: Sequence[_Pair], asked: int | None) -> tuple[int, int]:
    """Height and width that all images are brought to, as `load` has them."""
    sizes = {pair.size for pair in pairs}
    if asked is None and len(sizes) == 1 and max(own := sizes.pop()) <= OWN_SIZE_LIMIT:
        return own
    side = asked or DEFAULT_SIZE
    return side, side


def _masks(
    pairs: Sequence[_Pair], classes: int | None, ignored: int, size: tuple[int, int], faults: list[str]
) -> tuple[list[_Pair], Tensor]:
    """The pairs whose masks can be, and these, (N, H, W) uint8."""
    masks = torch.full((len(pairs), *size), ignored, dtype=torch.uint8)
    kept: list[_Pair] = []
    for pair in pairs:
        try:
            mask = _mask(pair, classes, ignored)
        except (_MaskError, OSError) as error:
            why = str(error) if isinstance(error, _MaskError) else f"cannot be read ({type(error).__name__})"
            faults.append(f"{pair.mask} {why}")
            continue
        factor = fitting(pair.size, *size)
        tall, wide = (max(1, min(most, round(side * factor))) for side, most in zip(pair.size, size, strict=True))
        scaled = vision.resize(mask[None], [tall, wide], InterpolationMode.NEAREST_EXACT)[0]
        masks[len(kept), :tall, :wide] = scaled
        kept.append(pair)
    return kept, masks[: len(kept)]


def _mask(pair: _Pair, classes: int | None, ignored: int) -> Tensor:
    """(H, W) uint8, of the size of its image, and of known classes."""
    with Image.open(pair.mask) as image:
        if image.mode not in INDEX_MODES:
            raise _MaskError(f"is {image.mode}; must have a palette or be grey, its values the numbers of classes")
        values = np.asarray(image).astype(np.int64)
    if values.shape != pair.size:
        (height, width), (tall, wide) = values.shape, pair.size
        raise _MaskError(f"is {width} x {height}, and its image {wide} x {tall}")
    most = 256 if classes is None else classes
    wrong = values[((values >= most) | (values < 0)) & (values != ignored)]
    if len(wrong):
        raise _MaskError(
            f"holds {int(wrong[0])}, and there are {most} classes: 0 to {most - 1}, or data.ignore_index={ignored} for "
            "pixels that don't count"
        )
    return torch.from_numpy(values.astype(np.uint8))


def _files(pairs: Sequence[_Pair], masks: Tensor, channels: int) -> ImageFiles:
    return ImageFiles(np.array([os.fsencode(pair.image) for pair in pairs]), masks, channels)
