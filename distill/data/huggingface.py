"""Data sets of images in the Hugging Face format, from the hub or a local directory."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from torch import Tensor

from distill.data.labels import class_numbers
from distill.data.loading import Handling, InMemory, OnError, load
from distill.data.order import share_of_each_class
from distill.data.parts import check_same_classes, wanted
from distill.data.pixels import pixels_of
from distill.data.source import ImageSource, Only, Part
from distill.errors import SettingError, suggestion

OTHER_NAMES: Mapping[Part, Sequence[str]] = {
    "val": ("validation", "val", "valid", "dev", "validate"),
    "test": ("test", "testing"),
}
PATIENCE = 5.0  # seconds to reach the hub
SETTINGS: Mapping[Part, str] = {"train": "data.train_split", "val": "data.val_split"}


def huggingface(
    path: str,
    config: str | None = None,
    train_split: str = "train",
    val_split: str | None = None,
    val_fraction: float = 0.1,
    image_column: str | None = None,
    label_column: str | None = None,
    channels: int = 3,
    image_size: int | None = None,
    resize: int | None = None,
    in_memory: InMemory = "auto",
    on_error: OnError = "stop",
    only: Only | None = None,
) -> ImageSource:
    """Images and labels of a Hugging Face data set; needs the package `datasets`.

    Args:
        path: a name on the hub, or a local directory: one written by `save_to_disk`, or of image or parquet files.
        config: which configuration of the data set, where it has several.
        train_split, val_split: names of the splits; None takes the first of validation, val, valid, dev and test that
            there is. A test split that doesn't validate is the source's test split.
        val_fraction: share of each class of the training split that validates where there is no such split.
        image_column, label_column: None takes the only column of images, and the only one of class labels.
        channels: 3 for colour, 1 for grey.
        image_size, resize, in_memory, on_error: see `distill.data.loading.Handling`.
        only: the one split that is wanted, which then stands for all; of a data set in one piece, all images.

    Raises:
        SettingError: the package is missing, the data set cannot be loaded, a split or column isn't there, labels that
            are no classes, an image that cannot be read.
        ValueError: a setting out of its range.
    """
    handling = Handling(image_size, resize, in_memory, on_error)
    if channels not in (1, 3):
        raise ValueError(f"channels={channels}: must be 3 for colour or 1 for grey")
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction={val_fraction}: must be above 0 and below 1")
    path = str(path)
    splits = open_splits(path, config)
    called = split_names(path, splits, train_split, val_split, only)
    rows = {part: _pick(splits, SETTINGS.get(part, "data"), name) for part, name in called.items()}
    first = next(iter(rows.values()))
    image_column = _column(first, "image", image_column)
    label_column = _column(first, "label", label_column)
    if only is None and "val" not in rows:
        held = share_of_each_class(_labels(first, label_column, path), val_fraction, seed=0).tolist()
        rest = sorted(set(range(len(first))) - set(held))
        rows |= {"train": first.select(rest), "val": first.select(held)}
        called["val"] = train_split
    named = {part: names for part, chosen in rows.items() if (names := _own_names(chosen, label_column)) is not None}
    check_same_classes(named, f"data.path={path}")
    parts: dict[Part, HubImages] = {}
    for part, chosen in rows.items():
        targets = _labels(chosen, label_column, path)
        label = f"{path}: {called[part]}"
        parts[part] = HubImages(chosen.select_columns(image_column), targets, image_column, channels, label)
    highest = max((int(images.targets.max()) for images in parts.values() if len(images.targets)), default=0)
    names = next(iter(named.values()), [*map(str, range(highest + 1))])
    return load(Path(path).name, parts, names, handling)


@dataclass(frozen=True, slots=True)
class HubImages:
    """Images in a column of a `datasets.Dataset`.

    rows: the data set.
    targets: (N,) int64.
    column: of the images.
    channels: 3 for colour, 1 for grey.
    label: what to call the rows.
    """

    rows: Any
    targets: Tensor
    column: str
    channels: int
    label: str

    def read(self, index: int) -> Tensor:
        """(C, H, W) uint8."""
        return pixels_of(self.rows[index][self.column], self.channels)

    def name(self, index: int) -> str:
        """The split and the row."""
        return f"{self.label}[{index}]"

    @property
    def version(self) -> str:
        """Changes when the data set does: the hash that `datasets` keeps of where it comes from and what was done."""
        return str(getattr(self.rows, "_fingerprint", ""))


def open_splits(path: str, config: str | None) -> Any:
    """The splits by name."""
    try:
        import datasets
    except ImportError:
        raise SettingError(
            f"data.path={path}: needs the package `datasets`; pip install 'distill[huggingface]'"
        ) from None
    if not Path(path).exists():
        _notice_being_offline()
    try:
        saved = any((Path(path) / file).is_file() for file in ("dataset_dict.json", "dataset_info.json"))
        found = datasets.load_from_disk(path) if saved else datasets.load_dataset(path, config)
    except Exception as error:  # of the hub, the network, the file formats: all end here alike
        reason = str(error).strip().split("\n")[0]
        raise SettingError(
            f"data.path={path}: cannot be loaded ({type(error).__name__}: {reason}); "
            "give a name on huggingface.co/datasets or a local directory"
        ) from None
    return {"train": found} if isinstance(found, datasets.Dataset) else found


def _notice_being_offline() -> None:
    """Where the hub cannot be reached, take what was downloaded before, or say at once that there is nothing.

    The library itself tries for half a minute.
    """
    import datasets
    from huggingface_hub import constants

    hub = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or getproxies():
        return
    try:
        socket.create_connection((hub.hostname or "", hub.port or 443), timeout=PATIENCE).close()
    except OSError:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


def split_names(path: str, splits: Any, train_split: str, val_split: str | None, only: Only | None) -> dict[Part, str]:
    """What the splits that are to be read are called."""
    found: dict[Part, str] = {"train": train_split} if only is None or train_split in splits else {}
    for part, names in OTHER_NAMES.items():
        if name := next((name for name in names if name in splits and name != train_split), None):
            found[part] = name
    if val_split is not None:
        found = {part: name for part, name in found.items() if name != val_split} | {"val": val_split}
    if only is not None:
        return wanted(found, only, f"data.path={path}")
    if "val" not in found and "test" in found:
        found["val"] = found.pop("test")
    return found


def _pick(splits: Any, setting: str, name: str) -> Any:
    if name not in splits:
        raise SettingError(f"{setting}={name}: no such split{suggestion(name, splits)}")
    return splits[name]


def _column(rows: Any, kind: str, name: str | None) -> str:
    """The column of images or of labels."""
    feature = "Image" if kind == "image" else "ClassLabel"
    if name is not None:
        if name not in rows.features:
            raise SettingError(f"data.{kind}_column={name}: no such column{suggestion(name, rows.features)}")
        return name
    found = [column for column, value in rows.features.items() if type(value).__name__ == feature]
    if len(found) != 1:
        raise SettingError(
            f"data.{kind}_column=null: {len(found)} columns hold {feature}s; name one of {', '.join(rows.features)}"
        )
    return str(found[0])


def _labels(rows: Any, column: str, path: str) -> Tensor:
    feature: Any = rows.features[column]
    if not hasattr(feature, "names") and getattr(feature, "dtype", "") in ("string", "large_string"):
        raise SettingError(
            f"data.label_column={column}: holds text; make classes of it with "
            f"dataset.class_encode_column({column!r}) and save that"
        )
    return class_numbers(rows[column][:], f"data.path={path}: the labels in column {column}")


def _own_names(rows: Any, column: str) -> list[str] | None:
    """What the rows call their classes, if anything."""
    names = getattr(rows.features[column], "names", None)
    return None if names is None else [*map(str, names)]
