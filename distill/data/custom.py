"""Data of your own, by the dotted path of a function that loads it."""

import contextlib
import pkgutil
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset

from distill.data.labels import class_numbers
from distill.data.loading import Handling, InMemory, OnError, load
from distill.data.parts import check_same_classes, wanted
from distill.data.pixels import PixelError, is_grey, pixels_of, to_bytes
from distill.data.source import ImageSource, Only, Part
from distill.errors import SettingError, first_line

GREY_SAMPLE = 16
MOST_LOOKED_AT = 128  # items that are read to see whether a data set's `targets` are its items' labels


def custom(
    target: str,
    arguments: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    resize: int | None = None,
    in_memory: InMemory = "auto",
    on_error: OnError = "stop",
    only: Only | None = None,
) -> ImageSource:
    """Whatever images a function of yours loads.

    Args:
        target: dotted path of the function, e.g. my_package.data.load. It returns an `ImageSource`, or torch data
            sets as a pair (training, validation) or a triple with a test set, whose items are (image, label): a PIL
            image or numbers of shape (C, H, W) or (H, W), uint8 or in [0, 1], not yet augmented or normalised; and a
            class from 0, or one-hot. If a data set has `targets`, its labels are taken from there, else all items are
            read once; if it has `classes`, these are the names.
        arguments: keyword arguments of the function.
        image_size, resize, in_memory, on_error: see `distill.data.loading.Handling`; for torch data sets.
        only: the one split that is wanted, which then stands for all; a single data set is one too.

    Raises:
        SettingError: the function cannot be imported or returned something else; an image that cannot be read, or with
            its channels last; labels that name no class, or other classes than `targets`.
        ValueError: a setting out of its range.
    """
    handling = Handling(image_size, resize, in_memory, on_error)
    try:
        function = pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError(
            f"data.target={target}: cannot be imported ({error}); give the dotted path of a function, "
            "of a package that is installed or lies in the current directory"
        ) from None
    loaded = function(**(arguments or {}))
    if isinstance(loaded, ImageSource):
        return loaded
    sets = _sets(loaded, only, f"data.target={target}")
    for part, dataset in sets.items():
        _check_first(dataset, part, f"data.target={target}")
    grey = _is_grey(next(iter(sets.values())))
    parts = {part: _images(dataset, part, f"data.target={target}", grey) for part, dataset in sets.items()}
    own = {part: [*map(str, known)] for part, dataset in sets.items() if (known := _class_names(dataset)) is not None}
    check_same_classes(own, f"data.target={target}")
    highest = max((int(images.targets.max()) for images in parts.values() if len(images.targets)), default=0)
    names = next(iter(own.values()), [*map(str, range(highest + 1))])
    # One thread: a data set may keep a file open, and move in it.
    return load(str(target).rpartition(".")[2], parts, names, handling, threads=1)


@dataclass(frozen=True, slots=True)
class DatasetImages:
    """Images of a torch data set: its items' first entries.

    targets: (N,) int64.
    label: of the split.
    grey: whether PIL images are made grey.
    """

    dataset: Any
    targets: Tensor
    label: str
    grey: bool

    def read(self, index: int) -> Tensor:
        """(C, H, W) uint8."""
        image = self.dataset[index][0]
        if isinstance(image, Image.Image):
            return pixels_of(image, 1 if self.grey else 3)
        pixels = torch.from_numpy(np.array(to_bytes(_array(image)[None])[0]))
        return pixels[None] if pixels.ndim == 2 else pixels

    def name(self, index: int) -> str:
        """The split and the item."""
        return f"{self.label}[{index}]"


def _sets(loaded: Any, only: Only | None, setting: str) -> dict[Part, Any]:
    """The data sets that are to be read, by split."""
    if only is not None and not isinstance(loaded, tuple | list) and _is_dataset(loaded):
        return {"val": loaded}
    if not (isinstance(loaded, tuple | list) and len(loaded) in (2, 3) and all(map(_is_dataset, loaded))):
        raise SettingError(
            f"{setting}: returned {type(loaded).__name__}; must return an ImageSource or a pair (training, validation) "
            "of torch data sets, or a triple with a test set"
        )
    return wanted(dict(zip(typing.get_args(Part), loaded, strict=False)), only, setting)


def _is_dataset(value: Any) -> bool:
    return hasattr(value, "__getitem__") and hasattr(value, "__len__")


def _images(dataset: Any, part: Part, setting: str, grey: bool) -> DatasetImages:
    """A split."""
    where = f"{setting}: the labels of {part}"
    known = _known_targets(dataset)
    if known is None:
        targets = class_numbers([_label(dataset, index, where) for index in range(len(dataset))], where)
    else:
        targets = class_numbers(known, where)
        _check_targets(dataset, targets, where)
    return DatasetImages(dataset, targets, part, grey)


def _check_targets(dataset: Any, targets: Tensor, where: str) -> None:
    """Compare what a data set says of its labels with an item of each class, or of some of many classes.

    Raises:
        SettingError: they differ, as where `targets` are told before a `target_transform`.
    """
    if len(targets) != len(dataset):
        raise SettingError(
            f"{where} are {len(targets)} by `targets` for {len(dataset)} items; there must be one for each"
        )
    firsts = np.unique(targets.numpy(), return_index=True)[1]
    looked_at = dict(_readable(dataset, map(int, firsts[:: max(1, len(firsts) // MOST_LOOKED_AT)])))
    labels = class_numbers([_number(item[1]) for item in looked_at.values()], where).tolist()
    for index, label in zip(looked_at, labels, strict=True):
        if label != targets[index]:
            raise SettingError(
                f"{where} are {targets[index]} for item {index} by its `targets`, but {label} by the item itself (is "
                "there a target_transform?): set `targets`, and `classes`, to what the items say"
            )


def _check_first(dataset: Any, part: Part, setting: str) -> None:
    """Look at a data set's first item."""
    for _, item in _readable(dataset, range(min(1, len(dataset)))):
        if not (isinstance(item, tuple | list) and len(item) > 1):
            raise SettingError(f"{setting}: the items of {part} are {type(item).__name__}s; must be (image, label)")
        _check_image(item[0], f"{setting}: the images of {part}")


def _check_image(image: Any, where: str) -> None:
    """Raise SettingError for numbers that are no pixels, or lie (H, W, C)."""
    if isinstance(image, Image.Image):
        return
    pixels = _array(image)
    try:
        to_bytes(pixels[None])
    except PixelError as error:
        raise SettingError(f"{where} are {error}") from None
    if pixels.ndim == 3 and pixels.shape[0] not in (1, 3) and pixels.shape[2] < pixels.shape[0]:
        advice = "image.permute(2, 0, 1)" if isinstance(image, Tensor) else "image.transpose(2, 0, 1)"
        raise SettingError(
            f"{where} are of shape {pixels.shape}, channels last; must be (channels, height, width): give {advice}"
        )


def _array(image: Any) -> npt.NDArray[Any]:
    if isinstance(image, Tensor):
        return (image.float() if image.is_floating_point() else image).numpy()
    return np.asarray(image)


def _label(dataset: Any, index: int, where: str) -> Any:
    try:
        item = dataset[index]
    except Exception as error:  # data sets raise whatever occurs to them
        raise SettingError(
            f"{where}: item {index} cannot be read ({first_line(error)}); mend it, or give the "
            "data set `targets`, so that such items can be left out with data.on_error=skip"
        ) from error
    return _number(item[1])


def _number(label: Any) -> Any:
    return label.tolist() if isinstance(label, Tensor) else label


def _readable(dataset: Any, indices: Iterable[int]) -> Iterator[tuple[int, Any]]:
    """Items by their index; without those that cannot be read, which are told of when they are needed."""
    for index in indices:
        with contextlib.suppress(Exception):  # data sets raise whatever occurs to them
            yield index, dataset[index]


def _is_grey(dataset: Any) -> bool:
    """Whether the PIL images of a data set are all grey, by a sample."""
    sample = sorted({len(dataset) * place // GREY_SAMPLE for place in range(GREY_SAMPLE)} if len(dataset) else {})
    images = (item[0] for _, item in _readable(dataset, sample))
    return all(is_grey(image) for image in images if isinstance(image, Image.Image))


def _known_targets(dataset: Any) -> Any:
    """What a data set says of its labels without reading items; also where it is a part of another. Else None."""
    if isinstance(dataset, Subset):
        whole = _known_targets(dataset.dataset)
        return None if whole is None else np.asarray(whole)[np.asarray(dataset.indices, dtype=int)]
    return getattr(dataset, "targets", None)


def _class_names(dataset: Any) -> Any:
    """Of a data set, or of the one that it is a part of; else None."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return getattr(dataset, "classes", None)
