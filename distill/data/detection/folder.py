"""A directory of images with boxes, annotated as Pascal VOC, COCO or YOLO do."""

import hashlib
import logging
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from distill.boxes import pack
from distill.data.detection.annotated import AnnotatedImage, Strictness
from distill.data.detection.coco import read_coco
from distill.data.detection.voc import read_voc
from distill.data.detection.yolo import read_yolo
from distill.data.folders import listed
from distill.data.loading import Handling, InMemory, OnError, load
from distill.data.order import share_of_each_class
from distill.data.parts import wanted
from distill.data.pixels import PixelError, pixels_of
from distill.data.source import ImageSource, Only, Part
from distill.data.stream import fitting
from distill.errors import SettingError
from distill.tasks import Detection

log = logging.getLogger(__name__)

Format = Literal["voc", "coco", "yolo"]
DEFAULT_SIZE = 320


def detection_folder(
    root: str,
    format: Format = "voc",
    classes: list[str] | None = None,
    val_fraction: float | None = None,
    channels: int = 3,
    image_size: int | None = None,
    in_memory: InMemory = "auto",
    on_error: OnError = "stop",
    only: Only | None = None,
) -> ImageSource:
    """Images with boxes, each scaled until it fits whole into a square, and padded with black.

    Args:
        root: the directory.
        format: "voc": Annotations/*.xml, JPEGImages and ImageSets/Main/(train|val|test).txt; "coco":
            annotations/*train*.json and *val*.json, with the images in images, in a folder of the split's name, or
            beside the file; "yolo": images/(train|val) beside labels/(train|val), names in data.yaml or classes.txt.
        classes: their names, in order; None for those that the annotations name: all of the training split in
            alphabetical order (voc), in the order of their numbers (coco, yolo).
        val_fraction: share of the images that validates, the same share of each class, always the same images; None
            where there is a validation split.
        channels: 3 for colour, 1 for grey.
        image_size: side of the square in pixels; None: 320.
        in_memory: keep all scaled images as bytes, on the training device; "auto": if that takes at most 2 GiB.
        on_error: at an image that cannot be read, or a box that lies outside its image or has no area, "stop", or
            "skip" it.
        only: the one split that is wanted, which then stands for all.

    Raises:
        SettingError: no such directory, nothing in it of this form, an annotation that cannot be, an unknown class.
        ValueError: a setting out of its range.
    """
    if format not in typing.get_args(Format):
        raise ValueError(f"format={format}: must be one of {', '.join(typing.get_args(Format))}")
    if channels not in (1, 3):
        raise ValueError(f"channels={channels}: must be 3 for colour or 1 for grey")
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction={val_fraction}: must be above 0 and below 1")
    handling = Handling(image_size or DEFAULT_SIZE, None, in_memory, on_error, letterbox=True)
    setting, directory = f"data.root={root}", Path(str(root)).expanduser()
    if not directory.is_dir():
        raise SettingError(f"{setting}: no such directory; give one with images and boxes as data.format={format} says")
    directory = _unwrapped(directory, format)
    strictness = Strictness(skip=on_error == "skip")
    found, named = _read(directory, format, setting, strictness)
    names = classes or named or _names(found)
    size = handling.image_size or DEFAULT_SIZE
    parts = {part: AnnotatedFiles.of(images, names, channels, size) for part, images in found.items() if images}
    return load(
        directory.absolute().name,
        wanted(_splits(parts, val_fraction, setting, len(names), only), only, setting),
        names,
        handling,
        notes=_notes(strictness),
        task=Detection(len(names)),
    )


def _unwrapped(directory: Path, format: Format) -> Path:
    """The directory, or the one folder in it, as archives have it."""
    inner = [entry for entry in directory.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__"))]
    marks = {"voc": "Annotations", "coco": "annotations", "yolo": "labels"}
    return inner[0] if len(inner) == 1 and (inner[0] / marks[format]).is_dir() else directory


def _read(
    root: Path, format: Format, setting: str, strictness: Strictness
) -> tuple[Mapping[Part | None, list[AnnotatedImage]], list[str]]:
    """The images of each split, and the classes where the annotations list them."""
    if format == "voc":
        return read_voc(root, setting, strictness), []
    return (read_coco if format == "coco" else read_yolo)(root, setting, strictness)


def _names(found: Mapping[Part | None, list[AnnotatedImage]]) -> list[str]:
    """Of the training split, or of the one split that there is."""
    images = found.get("train") or next(iter(found.values()))
    return sorted({box.name for image in images for box in image.objects})


def _splits(
    parts: "dict[Part | None, AnnotatedFiles]",
    val_fraction: float | None,
    setting: str,
    classes: int,
    only: Only | None,
) -> "dict[Part, AnnotatedFiles]":
    """The training and the validation split, and a test split where there is one."""
    whole = parts.pop(None, None)
    splits: dict[Part, AnnotatedFiles] = {part: files for part, files in parts.items() if part is not None}
    if whole is not None:
        splits["train"] = whole
    if not splits:
        raise SettingError(f"{setting}: holds no images")
    if only is not None and val_fraction is None:
        return splits
    if val_fraction is not None:
        files = splits["train"]
        held = share_of_each_class(Detection(classes).strata(files.targets), val_fraction, seed=0)
        rest = torch.ones(len(files.targets), dtype=torch.bool).index_fill(0, held, False).nonzero().flatten()
        splits = {**splits, "train": files.select(rest), "val": files.select(held)}
    if "val" not in splits and "test" in splits:
        splits["val"] = splits.pop("test")
    if missing := [part for part in ("train", "val") if part not in splits]:
        raise SettingError(
            f"{setting}: has no {missing[0]} split, but {listed(list(splits))}; set data.val_fraction, e.g. to 0.2, to "
            "split one set of images"
        )
    order: list[Part] = ["train", "val", "test"]
    return {part: splits[part] for part in order if part in splits}


def _notes(strictness: Strictness) -> list[str]:
    if not strictness.left_out:
        return []
    for message in strictness.left_out:
        log.info("left out: %s", message)
    return [f"left out: {len(strictness.left_out)} boxes that cannot be, e.g. {strictness.left_out[0]}"]


@dataclass(frozen=True, slots=True)
class AnnotatedFiles:
    """Image files with boxes.

    images: their paths and sizes. targets: packed boxes (N, M, 7) in pixels of the scaled images.
    channels: 3 for colour, 1 for grey.
    """

    images: Sequence[AnnotatedImage]
    targets: Tensor
    channels: int

    @classmethod
    def of(cls, images: Sequence[AnnotatedImage], names: Sequence[str], channels: int, size: int) -> "AnnotatedFiles":
        """With the classes numbered in the order of their names, for images that are fitted into a square.

        Raises:
            SettingError: an object of another class.
        """
        numbers = {name: number for number, name in enumerate(names)}
        factors = [fitting((image.height, image.width), size, size) for image in images]
        rows = []
        for image, factor in zip(images, factors, strict=True):
            for box in image.objects:
                if box.name not in numbers:
                    raise SettingError(
                        f"data: {image.source}: an object of the class {box.name!r}, which is none of {listed(names)}"
                    )
            rows.append(
                [
                    [*(edge * factor for edge in (b.left, b.top, b.right, b.bottom)), numbers[b.name], b.crowd]
                    for b in image.objects
                ]
            )
        return cls(images, pack(rows, [1 / factor for factor in factors]), channels)

    def read(self, index: int) -> Tensor:
        """(C, H, W) uint8; PixelError for an image of another size than its annotation says."""
        known = self.images[index]
        with Image.open(known.file) as image:
            pixels = pixels_of(image, self.channels)
        if tuple(pixels.shape[1:]) != (known.height, known.width):
            raise PixelError(
                f"it is {pixels.shape[2]} x {pixels.shape[1]}, and {known.source} says {known.width} x {known.height}"
            )
        return pixels

    def name(self, index: int) -> str:
        """The path."""
        return self.images[index].file

    @property
    def version(self) -> str:
        """Changes when a file or a box does."""
        hasher = hashlib.sha256(self.targets.numpy().tobytes())
        for image in self.images:
            about = Path(image.file).stat()
            hasher.update(f"{Path(image.file).name} {about.st_size} {about.st_mtime_ns}".encode())
        return hasher.hexdigest()

    def select(self, indices: Tensor) -> "AnnotatedFiles":
        """Some of the files."""
        return AnnotatedFiles([self.images[i] for i in indices.tolist()], self.targets[indices], self.channels)
