"""Data sets of images in the Hugging Face format, from the hub or a local directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.data.loading import Handling, InMemory, OnError, load, tensor_of
from distill.data.order import share_of_each_class
from distill.data.source import ImageSource
from distill.errors import SettingError, suggestion

VALIDATION_NAMES = ("validation", "val", "valid", "test")


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
) -> ImageSource:
    """Images and labels of a Hugging Face data set; needs the package `datasets`.

    Args:
        path: a name on the hub, or a local directory: one written by `save_to_disk`, or of image or parquet files.
        config: which configuration of the data set, where it has several.
        train_split, val_split: names of the splits; None takes validation, val, valid or test, whichever there is.
        val_fraction: share of each class of the training split that validates where there is no such split.
        image_column, label_column: None takes the only column of images, and the only one of class labels.
        channels: 3 for colour, 1 for grey.
        image_size, resize, in_memory, on_error: see `distill.data.loading.Handling`.

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
    splits = _open(path, config)
    train = _pick(splits, "data.train_split", train_split)
    image_column = _column(train, "image", image_column)
    label_column = _column(train, "label", label_column)
    names = _class_names(train, label_column)

    def images(rows: Any, split: str) -> HubImages:
        targets = torch.tensor(rows[label_column][:])
        return HubImages(rows.select_columns(image_column), targets, image_column, channels, f"{path}: {split}")

    if val_split is None:
        val_split = next((name for name in VALIDATION_NAMES if name in splits), None)
    if val_split is not None:
        val = _pick(splits, "data.val_split", val_split)
    else:
        held = share_of_each_class(torch.tensor(train[label_column][:]), val_fraction, seed=0).tolist()
        rest = sorted(set(range(len(train))) - set(held))
        train, val, val_split = train.select(rest), train.select(held), train_split
    return load(Path(path).name, images(train, train_split), images(val, val_split), names, handling)


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
        return tensor_of(self.rows[index][self.column], self.channels)

    def name(self, index: int) -> str:
        """The split and the row."""
        return f"{self.label}[{index}]"

    @property
    def version(self) -> str:
        """Changes when the data set does: the hash that `datasets` keeps of where it comes from and what was done."""
        return str(getattr(self.rows, "_fingerprint", ""))


def _open(path: str, config: str | None) -> Any:
    """The splits by name."""
    try:
        import datasets
    except ImportError:
        raise SettingError(
            f"data.path={path}: needs the package `datasets`; pip install 'distill[huggingface]'"
        ) from None
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


def _class_names(rows: Any, column: str) -> list[str]:
    feature: Any = rows.features[column]
    if hasattr(feature, "names"):
        return [str(name) for name in feature.names]
    if not str(getattr(feature, "dtype", "")).startswith(("int", "uint")):
        raise SettingError(f"data.label_column={column}: holds {feature}; must be class labels or whole numbers from 0")
    return [str(number) for number in range(1 + max(rows[column][:], default=0))]
