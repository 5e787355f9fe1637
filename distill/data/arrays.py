"""Any images from arrays: one .npz file, or a directory of .npy files."""

import pickle
import typing
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distill.data.labels import class_numbers, is_multi_hot, label_table
from distill.data.loading import InMemory, keep_in_memory
from distill.data.mapped import Pickled
from distill.data.npz import check_claims
from distill.data.parts import wanted
from distill.data.pixels import PixelError, to_bytes
from distill.data.source import ImageSource, Only, Part
from distill.data.split import Split
from distill.data.stream import Stream
from distill.errors import SettingError
from distill.tasks import Classification, MultiLabel

PARTS = typing.get_args(Part)
REQUIRED = ("train_images", "train_labels", "val_images", "val_labels")
KNOWN = ("class_names", *(f"{part}_{kind}" for part in PARTS for kind in ("images", "labels")))
OTHER_NAMES = {"x": "images", "y": "labels"}  # x_train, as in the files of Keras, is train_images
SAMPLED = 64  # images of an array on disk whose numbers are looked at before it is used

Arrays = Mapping[str, npt.NDArray[Any]]
SeveralLabels = Literal["auto"] | bool


def arrays(
    path: str, in_memory: InMemory = "auto", several_labels: SeveralLabels = "auto", only: Only | None = None
) -> ImageSource:
    """Images and labels from arrays.

    Args:
        path: an .npz file with train_images and val_images, (N, H, W) or (N, H, W, C), best uint8; train_labels and
            val_labels, (N,) whole numbers from 0, or (N, labels) of 0 and 1 where an image has several labels or none;
            optionally test_images and test_labels, which validate where there
            are no val_images, and class_names, (classes,) strings. Keras's names will do too: x_train, y_train and
            so on. Or a directory with such arrays as train_images.npy and so on, which need not fit into memory.
        in_memory: for a directory, whether to read it into memory; "auto" does so up to 2 GiB.
        several_labels: whether images have several labels or none; "auto" finds them by an image that does. Images
            that happen to have one label each are told from those of one class each by true alone.
        only: the one split that is wanted, which then stands for all.

    Raises:
        SettingError: no such file, not readable as arrays, an array missing or of a wrong shape or type.
    """
    setting, place = f"data.path={path}", Path(str(path)).expanduser()
    if not place.exists():
        raise SettingError(
            f"{setting}: no such file; give an .npz file with {', '.join(REQUIRED)}, "
            "or a directory with these as .npy files"
        )
    try:
        content = _mapped(place) if place.is_dir() else _unpacked(place)
    except (zipfile.BadZipFile, pickle.UnpicklingError, ValueError, OSError, EOFError) as error:
        raise SettingError(
            f"{setting}: cannot be read as arrays ({error}); write them with numpy.savez or numpy.save"
        ) from None
    several = _have_several_labels(content) if several_labels == "auto" else several_labels
    read_labels, task = (label_table, MultiLabel()) if several else (class_numbers, Classification())
    rows = {part: _rows(setting, content, name, read_labels) for part, name in _parts(setting, content, only).items()}
    names = _class_names(content, rows)
    needed = sum(part.images.size for part in rows.values())
    from_disk = place.is_dir() and not keep_in_memory(in_memory, needed)
    splits = {part: _stream(found) if from_disk else _split(setting, found) for part, found in rows.items()}
    return ImageSource.of(place.absolute().name if place.is_dir() else place.stem, splits, names, task=task)


@dataclass(frozen=True, slots=True)
class Rows:
    """Images that lie one after another in an array: (N, H, W, C), as they are; int64 labels, one row for each."""

    images: npt.NDArray[Any]
    targets: Tensor
    label: str

    def read(self, index: int) -> Tensor:
        """(C, H, W) uint8."""
        return torch.from_numpy(np.array(to_bytes(self.images[index : index + 1])[0])).permute(2, 0, 1)

    def name(self, index: int) -> str:
        """The row."""
        return f"{self.label}[{index}]"

    def __reduce__(self) -> tuple[Any, ...]:
        """Images on disk go to another process as the name of their file."""
        return Rows, (Pickled(self.images), self.targets, self.label)

    @property
    def version(self) -> str:
        """Changes when the file does: its size and time."""
        file = getattr(self.images, "filename", None)  # of a memory map
        about = None if file is None else Path(file).stat()
        return "" if about is None else f"{about.st_size} {about.st_mtime_ns}"


def _known(name: str) -> str | None:
    """The name that an array counts under, None where it is none of ours."""
    kind, _, part = name.partition("_")
    name = f"{part}_{OTHER_NAMES[kind]}" if kind in OTHER_NAMES else name
    return name if name in KNOWN else None


def _unpacked(file: Path) -> Arrays:
    with file.open("rb") as opened:  # numpy leaves it open where it is no archive
        archive = np.load(opened, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is one array, not an archive of several")
        check_claims(file)
        return {known: archive[name] for name in archive.files if (known := _known(name))}


def _mapped(directory: Path) -> Arrays:
    files = {known: file for file in directory.glob("*.npy") if (known := _known(file.stem))}
    return {
        name: np.load(file, mmap_mode="r" if name.endswith("_images") else None, allow_pickle=False)
        for name, file in files.items()
    }


def _parts(setting: str, content: Arrays, only: Only | None) -> Mapping[Part, str]:
    """The splits that are to be read, each with the name that its arrays begin with."""
    found: dict[Part, str] = {part: part for part in PARTS if f"{part}_images" in content}
    if only is not None:
        return wanted(found, only, setting)
    if "val" not in found and "test" in found:
        found["val"] = found.pop("test")
    missing = [name for name in REQUIRED if name not in content and found.get("val") != "test"]
    if missing or "train" not in found:
        raise SettingError(
            f"{setting}: holds no {', '.join(missing or REQUIRED[:1])}; needed are arrays of these names, and "
            "class_names if there are any"
        )
    return found


def _have_several_labels(content: Arrays) -> bool:
    """Whether images have several labels at once, or none: in any split, for all splits are of one task."""
    return any(is_multi_hot(content[f"{part}_labels"]) for part in PARTS if f"{part}_labels" in content)


def _rows(setting: str, content: Arrays, name: str, read_labels: Callable[[Any, str], Tensor]) -> Rows:
    """One split's arrays, checked."""
    images, where = content[f"{name}_images"], f"{setting}: {name}_labels"
    if f"{name}_labels" not in content:
        raise SettingError(f"{setting}: holds {name}_images without {name}_labels; add them, (N,) whole numbers from 0")
    if images.ndim not in (3, 4):
        raise SettingError(
            f"{setting}: {name}_images is {images.dtype} {images.shape}; must be uint8 (N, H, W) or (N, H, W, C)"
        )
    if images.ndim == 4 and images.shape[3] > images.shape[1]:
        raise SettingError(
            f"{setting}: {name}_images of shape {images.shape} has {images.shape[3]} channels; must be (N, H, W, C), "
            "channels last: use numpy.transpose(images, (0, 2, 3, 1))"
        )
    targets = read_labels(content[f"{name}_labels"], where)
    if len(targets) != len(images):
        raise SettingError(f"{where} are {len(targets)} for {len(images)} images; there must be one for each")
    rows = Rows(images[..., None] if images.ndim == 3 else images, targets, f"{name}_images")
    _check_numbers(setting, rows)
    return rows


def _check_numbers(setting: str, rows: Rows) -> None:
    """Look at a sample of the pixels."""
    sample = rows.images[np.linspace(0, len(rows.images) - 1, SAMPLED).astype(int)] if len(rows.images) else rows.images
    _bytes(setting, rows.label, sample)
    if sample.dtype == np.uint16 and sample.size and sample.max() < 256:
        raise SettingError(
            f"{setting}: {rows.label} is uint16 and looks black, with values up to {sample.max()}; save it with "
            ".astype('uint8') if these are 8 bits"
        )


def _bytes(setting: str, name: str, images: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    try:
        return to_bytes(images)
    except PixelError as error:
        raise SettingError(f"{setting}: {name} is {error}") from None


def _class_names(content: Arrays, rows: Mapping[Part, Rows]) -> list[str]:
    if "class_names" in content:
        return [str(name) for name in content["class_names"]]
    tables = [part.targets for part in rows.values() if len(part.targets)]
    highest = max((int(table.max()) if table.ndim == 1 else table.shape[1] - 1 for table in tables), default=0)
    return [str(number) for number in range(1 + highest)]


def _split(setting: str, rows: Rows) -> Split:
    images = _bytes(setting, rows.label, rows.images)
    # A copy in any case: torch wants to own what it may write to, and channels first.
    return Split(torch.from_numpy(np.array(images.transpose(0, 3, 1, 2), order="C")), rows.targets)


def _stream(rows: Rows) -> Stream:
    _, height, width, channels = rows.images.shape
    return Stream(rows, (channels, height, width), resize=min(height, width))
