"""Any images from one .npz file."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distill.data.source import ImageSource, Split
from distill.errors import SettingError

REQUIRED = ("train_images", "train_labels", "val_images", "val_labels")


def arrays(path: str) -> ImageSource:
    """Images and labels from arrays.

    Args:
        path: an .npz file with train_images and val_images, (N, H, W) or (N, H, W, C) uint8; train_labels and
            val_labels, (N,) whole numbers from 0; optionally class_names, (classes,) strings.

    Raises:
        SettingError: no such file, not an .npz file, an array missing or of a wrong shape or type.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise SettingError(f"data.path={path}: no such file; give an .npz file with {', '.join(REQUIRED)}")
    try:
        with np.load(file, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files if name in (*REQUIRED, "class_names")}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise SettingError(f"data.path={path}: not a readable .npz file ({error}); write it with numpy.savez") from None
    missing = [name for name in REQUIRED if name not in content]
    if missing:
        raise SettingError(f"data.path={path}: holds no {', '.join(missing)}; needed are {', '.join(REQUIRED)}")
    splits = [_split(path, name, content[f"{name}_images"], content[f"{name}_labels"]) for name in ("train", "val")]
    classes = _classes(splits)
    names = [str(name) for name in content["class_names"]] if "class_names" in content else list(map(str, range(classes)))
    return ImageSource(file.stem, splits[0], splits[1], names)


def _split(path: str, name: str, images: Any, labels: Any) -> Split:
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise SettingError(
            f"data.path={path}: {name}_images is {images.dtype} {images.shape}; must be uint8 (N, H, W) or (N, H, W, C)"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise SettingError(f"data.path={path}: {name}_labels is {labels.dtype}; must be whole numbers from 0")
    channels_last = images[..., None] if images.ndim == 3 else images
    return Split(
        torch.from_numpy(np.ascontiguousarray(channels_last.transpose(0, 3, 1, 2))),
        torch.from_numpy(labels.astype(np.int64)),
    )


def _classes(splits: list[Split]) -> int:
    return 1 + max((int(split.targets.max()) for split in splits if len(split)), default=0)
