"""The small published sets that torchvision fetches: in memory, once downloaded."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from distill.data.source import ImageSource
from distill.data.split import Split
from distill.errors import SettingError


def cifar10(root: str) -> ImageSource:
    """50,000 training and 10,000 validation images (3, 32, 32) in ten classes.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    Args:
        root: directory that holds cifar-10-batches-py/, or into which it is downloaded (170 MB).

    Raises:
        SettingError: neither there nor to be had.
    """
    return _cifar("cifar10", root, datasets.CIFAR10)


def cifar100(root: str) -> ImageSource:
    """50,000 training and 10,000 validation images (3, 32, 32) in a hundred classes.

    Source: as for CIFAR-10.

    Args:
        root: directory that holds cifar-100-python/, or into which it is downloaded (170 MB).

    Raises:
        SettingError: neither there nor to be had.
    """
    return _cifar("cifar100", root, datasets.CIFAR100)


def fashion_mnist(root: str) -> ImageSource:
    """60,000 training and 10,000 validation images (1, 28, 28) of clothes in ten classes.

    Source: Xiao et al., arXiv 1708.07747.

    Args:
        root: directory that holds the four IDX files (train-images-idx3-ubyte and so on, packed with gzip or not;
            /usr/share/datasets/fashion-mnist where Debian's dataset-fashion-mnist is installed), or into which they
            are downloaded (30 MB).

    Raises:
        SettingError: neither there nor to be had, or damaged.
    """
    place = Path(root).expanduser()
    if _idx_file(place, "train-images-idx3") is None:
        _fetch(
            "fashion_mnist",
            root,
            "the four .gz files of github.com/zalandoresearch/fashion-mnist",
            datasets.FashionMNIST,
        )
        place = place / "FashionMNIST" / "raw"
    splits = [
        Split(_idx(root, place, f"{name}-images-idx3")[:, None], _idx(root, place, f"{name}-labels-idx1").long())
        for name in ("train", "t10k")
    ]
    return ImageSource("fashion_mnist", splits[0], splits[1], datasets.FashionMNIST.classes)


def _cifar(name: str, root: str, kind: Any) -> ImageSource:
    train, val = _fetch(name, root, f"{kind.base_folder}/ (unpacked from {kind.url})", kind)
    splits = [
        Split(torch.from_numpy(np.ascontiguousarray(part.data.transpose(0, 3, 1, 2))), torch.tensor(part.targets))
        for part in (train, val)
    ]
    return ImageSource(name, splits[0], splits[1], train.classes)


def _fetch(name: str, root: str, wanted: str, kind: Any) -> tuple[Any, Any]:
    """torchvision's data sets, training and validation; downloaded, with progress, where they aren't there."""
    place = Path(root).expanduser()
    try:
        return kind(place, train=True, download=True), kind(place, train=False, download=True)
    except (OSError, RuntimeError, EOFError) as error:
        reason = str(error).strip().split("\n")[0]
        raise SettingError(
            f"data.root={root}: {name} is not there and cannot be downloaded ({reason}); put there {wanted}"
        ) from None


def _idx_file(place: Path, name: str) -> Path | None:
    return next((file for suffix in ("", ".gz") if (file := place / f"{name}-ubyte{suffix}").is_file()), None)


def _idx(root: str, place: Path, name: str) -> Tensor:
    """The numbers in an IDX file: two zeros, a type (8 for bytes), how many sizes, the sizes, the bytes."""
    file = _idx_file(place, name)
    if file is None:
        raise SettingError(f"data.root={root}: {place} holds no {name}-ubyte or {name}-ubyte.gz beside the other files")
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        dimensions = content[3]
        sizes = np.frombuffer(content, ">i4", dimensions, 4)
        numbers = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(sizes)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise SettingError(f"data.root={root}: {file} is damaged ({error}); fetch it again") from None
    return torch.from_numpy(numbers.copy())
