"""The published sets, from files of their formats written here: nothing is fetched."""

import gzip
import hashlib
import pickle
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from distill.data.torchvision import cifar10, cifar100, fashion_mnist
from distill.errors import SettingError

RNG = np.random.default_rng(0)
CLOTHES = {name: RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8) for name, count in (("train", 30), ("t10k", 20))}
LABELS = {name: (np.arange(len(images)) % 10).astype(np.uint8) for name, images in CLOTHES.items()}


def write_idx(directory: Path, packed: bool) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    for name, images in CLOTHES.items():
        for kind, numbers in (("images", images), ("labels", LABELS[name])):
            header = bytes([0, 0, 8, numbers.ndim]) + np.array(numbers.shape, ">i4").tobytes()
            content = header + numbers.tobytes()
            stem = f"{name}-{kind}-idx{numbers.ndim}-ubyte"
            (directory / (f"{stem}.gz" if packed else stem)).write_bytes(gzip.compress(content) if packed else content)
    return str(directory)


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_from_its_files(tmp_path: Path, packed: bool) -> None:
    data = fashion_mnist(write_idx(tmp_path, packed))
    assert np.array_equal(data.train.images[:, 0].numpy(), CLOTHES["train"])  # type: ignore[union-attr]
    assert np.array_equal(data.val.targets.numpy(), LABELS["t10k"])
    assert data.class_names[9] == "Ankle boot"


def test_fashion_mnist_as_torchvision_unpacks_it(tmp_path: Path) -> None:
    write_idx(tmp_path / "FashionMNIST" / "raw", packed=False)
    assert len(fashion_mnist(str(tmp_path)).train) == 30


def test_a_part_of_fashion_mnist_is_missing(tmp_path: Path) -> None:
    root = write_idx(tmp_path, packed=True)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        SettingError, match=r"^data.root=.* holds no t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz"
    ):
        fashion_mnist(root)


@pytest.mark.parametrize(
    "damage",
    [b"", b"\x00\x00\x08\x03\x00", gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x09abc")],
    ids=["empty", "a cut header", "too few labels, compressed"],  # gzip writes the time, so it cannot be a name
)
def test_a_damaged_part_of_fashion_mnist(tmp_path: Path, damage: bytes) -> None:
    root = write_idx(tmp_path, packed=True)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(damage)
    with pytest.raises(SettingError, match=r"t10k-labels-idx1-ubyte.gz is damaged \(.*\); fetch it again"):
        fashion_mnist(root)


def write_cifar(root: Path, kind: Any, labels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small set in CIFAR's files, and its checksums where torchvision looks for them."""
    directory = root / kind.base_folder
    directory.mkdir()

    def dump(name: str, content: dict[str, Any]) -> str:
        (directory / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((directory / name).read_bytes()).hexdigest()

    for part in ("train_list", "test_list"):
        files = []
        for number, (name, _) in enumerate(getattr(kind, part)):
            pixels = np.full((4, 3072), number, np.uint8)
            pixels[:, 1024:2048] = 100  # green
            files.append([name, dump(name, {"data": pixels, labels: [3, 1, 2, 0]})])
        monkeypatch.setattr(kind, part, files)
    names = [f"class {number}" for number in range(100 if labels == "fine_labels" else 10)]
    meta = dict(kind.meta)
    meta["md5"] = dump(meta["filename"], {meta["key"]: names})
    monkeypatch.setattr(kind, "meta", meta)


def test_cifar10_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, datasets.CIFAR10, "labels", monkeypatch)
    data = cifar10(str(tmp_path))
    assert (len(data.train), len(data.val), data.num_classes) == (20, 4, 10)
    assert data.train.shape == (3, 32, 32)
    assert data.train.targets[:5].tolist() == [3, 1, 2, 0, 3]
    assert data.train.images[8, :, 5, 7].tolist() == [2, 100, 2]  # type: ignore[union-attr]
    assert data.class_names[3] == "class 3"


def test_cifar100_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, datasets.CIFAR100, "fine_labels", monkeypatch)
    data = cifar100(str(tmp_path))
    assert (len(data.train), len(data.val), data.num_classes) == (4, 4, 100)


@pytest.mark.parametrize(
    ("load", "wanted"),
    [
        (cifar10, "cifar-10-batches-py/"),
        (cifar100, "cifar-100-python/"),
        (fashion_mnist, "the four .gz files of github.com/zalandoresearch/fashion-mnist"),
    ],
)
def test_without_a_network_one_line_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Any, wanted: str
) -> None:
    def offline(*_args: Any, **_keywords: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(SettingError) as caught:
        load(str(tmp_path))
    message = str(caught.value)
    assert message.startswith(f"data.root={tmp_path}: {load.__name__} is not there and cannot be downloaded (")
    assert f"put there {wanted}" in message
    assert "\n" not in message
