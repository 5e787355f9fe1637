"""Any images from arrays: one .npz file, or a directory of .npy files."""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distill.data.loading import InMemory, keep_in_memory
from distill.data.source import ImageSource, Split
from distill.data.stream import Stream
from distill.errors import SettingError

REQUIRED = ("train_images", "train_labels", "val_images", "val_labels")
KNOWN = (*REQUIRED, "class_names")


def arrays(path: str, in_memory: InMemory = "auto") -> ImageSource:
    """Images and labels from arrays.

    Args:
        path: an .npz file with train_images and val_images, (N, H, W) or (N, H, W, C) uint8; train_labels and
            val_labels, (N,) whole numbers from 0; optionally class_names, (classes,) strings. Or a directory with
            such arrays as train_images.npy and so on, which need not fit into memory.
        in_memory: for a directory, whether to read it into memory; "auto" does so up to 2 GiB.

    Raises:
        SettingError: no such file, not readable as arrays, an array missing or of a wrong shape or type.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise SettingError(
            f"data.path={path}: no such file; give an .npz file with {', '.join(REQUIRED)}, "
            "or a directory with these as .npy files"
        )
    try:
        content = _mapped(place) if place.is_dir() else _unpacked(place)
    except (zipfile.BadZipFile, pickle.UnpicklingError, ValueError, OSError, EOFError) as error:
        raise SettingError(
            f"data.path={path}: cannot be read as arrays ({error}); write them with numpy.savez or numpy.save"
        ) from None
    _check(path, content)
    names = _class_names(content)
    needed = content["train_images"].nbytes + content["val_images"].nbytes
    if place.is_dir() and not keep_in_memory(in_memory, needed):
        return ImageSource(place.name, _stream(content, "train"), _stream(content, "val"), names)
    return ImageSource(place.stem, _split(content, "train"), _split(content, "val"), names)


@dataclass(frozen=True, slots=True)
class Rows:
    """Images that lie one after another in an array on disk: (N, H, W, C) uint8; (N,) int64."""

    images: npt.NDArray[np.uint8]
    targets: Tensor
    label: str

    def read(self, index: int) -> Tensor:
        """(C, H, W) uint8."""
        return torch.from_numpy(np.array(self.images[index])).permute(2, 0, 1)

    def name(self, index: int) -> str:
        """The row."""
        return f"{self.label}[{index}]"

    @property
    def version(self) -> str:
        """Changes when the file does: its size and time."""
        file = getattr(self.images, "filename", None)  # of a memory map
        about = None if file is None else Path(file).stat()
        return "" if about is None else f"{about.st_size} {about.st_mtime_ns}"


Arrays = Mapping[str, npt.NDArray[Any]]


def _unpacked(file: Path) -> Arrays:
    with file.open("rb") as opened:  # numpy leaves it open where it is no archive
        archive = np.load(opened, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is one array, not an archive of several")
        return {name: archive[name] for name in archive.files if name in KNOWN}


def _mapped(directory: Path) -> Arrays:
    files = {name: directory / f"{name}.npy" for name in KNOWN}
    return {
        name: np.load(file, mmap_mode="r" if name.endswith("_images") else None, allow_pickle=False)
        for name, file in files.items()
        if file.is_file()
    }


def _check(path: str, content: Arrays) -> None:
    missing = [name for name in REQUIRED if name not in content]
    if missing:
        raise SettingError(
            f"data.path={path}: holds no {', '.join(missing)}; needed are arrays of these names, and class_names if "
            "there are any"
        )
    for name in ("train", "val"):
        images, labels = content[f"{name}_images"], content[f"{name}_labels"]
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise SettingError(
                f"data.path={path}: {name}_images is {images.dtype} {images.shape}; "
                "must be uint8 (N, H, W) or (N, H, W, C)"
            )
        if images.ndim == 4 and images.shape[3] > images.shape[1]:
            raise SettingError(
                f"data.path={path}: {name}_images of shape {images.shape} has {images.shape[3]} channels; "
                "must be (N, H, W, C), channels last"
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise SettingError(f"data.path={path}: {name}_labels is {labels.dtype}; must be whole numbers from 0")
        if labels.shape != images.shape[:1]:
            raise SettingError(
                f"data.path={path}: {name}_labels is of shape {labels.shape} for {len(images)} images; must be (N,)"
            )


def _class_names(content: Arrays) -> list[str]:
    if "class_names" in content:
        return [str(name) for name in content["class_names"]]
    return [str(number) for number in range(1 + max(int(content[name].max(initial=0)) for name in REQUIRED[1::2]))]


def _rows(content: Arrays, name: str) -> Rows:
    images = content[f"{name}_images"]
    channels_last = images[..., None] if images.ndim == 3 else images
    return Rows(channels_last, torch.from_numpy(content[f"{name}_labels"].astype(np.int64)), f"{name}_images")


def _split(content: Arrays, name: str) -> Split:
    rows = _rows(content, name)
    # A copy in any case: torch wants to own what it may write to, and channels first.
    return Split(torch.from_numpy(np.array(rows.images.transpose(0, 3, 1, 2), order="C")), rows.targets)


def _stream(content: Arrays, name: str) -> Stream:
    rows = _rows(content, name)
    _, height, width, channels = rows.images.shape
    return Stream(rows, (channels, height, width), resize=min(height, width))
