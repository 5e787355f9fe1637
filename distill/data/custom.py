"""Data of your own, by the dotted path of a function that loads it."""

import contextlib
import logging
import pkgutil
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset

from distill.data.labels import class_numbers
from distill.data.loading import Handling, InMemory, OnError, load
from distill.data.pixels import channels_first, is_grey, pixels_of, to_bytes
from distill.data.source import ImageSource, Only, Part, wanted
from distill.errors import SettingError

log = logging.getLogger(__name__)

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
            image or numbers of shape (C, H, W), (H, W, C) or (H, W), uint8 or in [0, 1], not yet augmented or
            normalised; and a class from 0, or one-hot. If a data set has `targets` that are its items' labels, they
            are taken from there, else all items are read once; if it has `classes`, these are the names.
        arguments: keyword arguments of the function.
        image_size, resize, in_memory, on_error: see `distill.data.loading.Handling`; for torch data sets.
        only: the one split that is wanted, which then stands for all; a single data set is one too.

    Raises:
        SettingError: the function cannot be imported or returned something else; an image that cannot be read.
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
    first = next(iter(sets.values()))
    grey = _is_grey(first)
    parts = {part: _images(dataset, part, f"data.target={target}", grey) for part, dataset in sets.items()}
    names = _class_names(first, list(parts.values()))
    # One thread: a data set may keep a file open, and move in it.
    return load(str(target).rpartition(".")[2], parts, names, handling, threads=1)


@dataclass(frozen=True, slots=True)
class DatasetImages:
    """Images of a torch data set: its items' first entries.

    targets: (N,) int64.
    label: of the split.
    grey: whether PIL images are made grey.
    own: whether `targets` are those that the data set itself names.
    """

    dataset: Any
    targets: Tensor
    label: str
    grey: bool
    own: bool

    def read(self, index: int) -> Tensor:
        """(C, H, W) uint8."""
        image = self.dataset[index][0]
        if isinstance(image, Image.Image):
            return pixels_of(image, 1 if self.grey else 3)
        values = (image.float() if image.is_floating_point() else image).numpy() if isinstance(image, Tensor) else image
        return channels_first(torch.from_numpy(np.array(to_bytes(np.asarray(values)[None])[0])))

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
    """A split. The labels are those of the items: `targets` may be told before a `target_transform`."""
    where = f"{setting}: the labels of {part}"
    known = _known_targets(dataset)
    targets = None if known is None else class_numbers(known, where)
    if targets is not None and len(targets) == len(dataset):
        looked_at = dict(_readable(dataset, _one_of_each(targets)))
        labels = class_numbers([_number(item[1]) for item in looked_at.values()], where)
        if torch.equal(labels, targets[list(looked_at)]):
            return DatasetImages(dataset, targets, part, grey, own=True)
        log.info("%s: targets differ from the items' labels, which count", where)
    labels = class_numbers([_number(dataset[index][1]) for index in range(len(dataset))], where)
    return DatasetImages(dataset, labels, part, grey, own=False)


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


def _one_of_each(targets: Tensor) -> list[int]:
    """An item of each class, of many classes some."""
    firsts = np.unique(targets.numpy(), return_index=True)[1]
    return [int(index) for index in firsts[:: max(1, len(firsts) // MOST_LOOKED_AT)]]


def _class_names(dataset: Any, parts: Sequence[DatasetImages]) -> list[str]:
    """The data set's own names, unless its labels are others by now; else numbers."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    known = getattr(dataset, "classes", None)
    highest = max((int(images.targets.max()) for images in parts if len(images.targets)), default=0)
    changed = getattr(dataset, "targets", None) is not None and not parts[0].own
    if known is not None and not changed:
        return [str(name) for name in known]
    return [str(number) for number in range(highest + 1)]
