"""Any directory tree with one folder of images for each class."""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from distill.data.loading import Handling, InMemory, OnError, load, tensor_of
from distill.data.order import share_of_each_class
from distill.data.source import ImageSource
from distill.errors import SettingError

log = logging.getLogger(__name__)

VALIDATION_NAMES = ("val", "valid", "validation", "test")


def image_folder(
    root: str,
    val_fraction: float | None = None,
    channels: int = 3,
    image_size: int | None = None,
    resize: int | None = None,
    in_memory: InMemory = "auto",
    on_error: OnError = "stop",
) -> ImageSource:
    """Images from root/train/CLASS/... and root/val/CLASS/..., or from root/CLASS/... split by a fraction.

    Args:
        root: the directory. A validation folder may also be called valid, validation or test.
        val_fraction: share of each class that validates, always the same images; None where there is a validation
            folder.
        channels: 3 for colour, 1 for grey.
        image_size, resize, in_memory, on_error: see `distill.data.loading.Handling`.

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
    directory = Path(root).expanduser()
    if not directory.is_dir():
        raise SettingError(f"data.root={root}: no such directory; give one that holds train/CLASS/ or CLASS/ folders")
    train_dir = directory / "train" if (directory / "train").is_dir() else directory
    val_dir = next((directory / name for name in VALIDATION_NAMES if (directory / name).is_dir()), None)
    if train_dir != directory and val_dir is not None and val_fraction is not None:
        log.warning("data.val_fraction=%s: a share of train/ validates, and %s is not used", val_fraction, val_dir)
    if train_dir == directory or val_fraction is not None:
        val_dir = None
    if val_dir is None and val_fraction is None:
        raise SettingError(
            f"data.root={root}: holds no train/ and val/ folders of classes; "
            "set data.val_fraction, e.g. to 0.1, to split one folder of classes"
        )
    names, train = _scan(root, train_dir, channels, handling)
    if val_dir is None:
        held = share_of_each_class(train.targets, val_fraction or 0.0, seed=0)
        rest = torch.ones(len(train.targets), dtype=torch.bool).index_fill(0, held, False).nonzero().flatten()
        return load(directory.name, train.select(rest), train.select(held), names, handling)
    val_names, val = _scan(root, val_dir, channels, handling)
    if names != val_names:
        raise SettingError(
            f"data.root={root}: {train_dir.name}/ and {val_dir.name}/ hold different classes, "
            f"e.g. {sorted(set(names) ^ set(val_names))[:3]}; each must have a folder in both"
        )
    return load(directory.name, train, val, names, handling)


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
            return tensor_of(image, self.channels)

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


def _scan(root: str, directory: Path, channels: int, handling: Handling) -> tuple[Sequence[str], ImageFiles]:
    """The classes of a directory, in the order of their names, and their files."""
    names = sorted(entry.name for entry in directory.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise SettingError(f"data.root={root}: {directory} holds no folders; there must be one for each class")
    classes = {name: number for number, name in enumerate(names)}
    files = make_dataset(str(directory), classes, extensions=IMG_EXTENSIONS, allow_empty=True)
    if not files:
        raise SettingError(f"data.root={root}: {directory} holds no images; known are {', '.join(IMG_EXTENSIONS)}")
    targets = torch.tensor([target for _, target in files])
    for number in sorted(set(range(len(names))) - set(targets.tolist())):
        message = f"data.root={root}: the class folder {directory / names[number]} holds no images"
        if handling.on_error == "stop":
            raise SettingError(f"{message}; fill or remove it, or go on without with data.on_error=skip")
        log.warning("%s; the class stays, without samples", message)
    return names, ImageFiles(np.array([os.fsencode(path) for path, _ in files]), targets, channels)
