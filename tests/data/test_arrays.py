"""Arrays: what is read, and one message for each thing that is wrong with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from distill.data import ImageDataModule, Split, Stream, loading
from distill.data.arrays import arrays
from distill.data.pixels import to_bytes
from distill.errors import SettingError

Arrays = dict[str, npt.NDArray[Any]]
RNG = np.random.default_rng(0)


def content(shape: tuple[int, ...] = (9, 7, 3), **changes: Any) -> Arrays:
    whole = {
        "train_images": RNG.integers(0, 256, (12, *shape), dtype=np.uint8),
        "train_labels": np.arange(12, dtype=np.uint8) % 3,
        "val_images": RNG.integers(0, 256, (5, *shape), dtype=np.uint8),
        "val_labels": np.arange(5) % 3,
        **changes,
    }
    return {name: array for name, array in whole.items() if array is not None}


def one_file(directory: Path, whole: Arrays) -> str:
    np.savez(directory / "set.npz", **whole)
    return str(directory / "set.npz")


def many_files(directory: Path, whole: Arrays) -> str:
    for name, array in whole.items():
        np.save(directory / f"{name}.npy", array)
    return str(directory)


Writer = Callable[[Path, Arrays], str]
both = pytest.mark.parametrize("write", [one_file, many_files])


@both
@pytest.mark.parametrize("shape", [(9, 7, 3), (9, 7, 1), (9, 7)])
def test_images_come_channels_first(tmp_path: Path, write: Writer, shape: tuple[int, ...]) -> None:
    whole = content(shape)
    data = arrays(write(tmp_path, whole))
    assert isinstance(data.train, Split)
    assert data.train.images.is_contiguous()
    expected = whole["train_images"].reshape(12, 9, 7, -1).transpose(0, 3, 1, 2)
    assert np.array_equal(data.train.images.numpy(), expected)
    assert data.val.targets.tolist() == [0, 1, 2, 0, 1]
    assert data.class_names == ["0", "1", "2"]


@both
def test_other_numbers_become_bytes(tmp_path: Path, write: Writer) -> None:
    whole = content()
    exact = whole["train_images"]
    for number, kind in enumerate((np.float32, np.float16, np.int64, np.uint16)):
        images = exact / kind(255) if np.issubdtype(kind, np.floating) else exact.astype(kind)
        changed = whole | {"train_images": images.astype(kind) * (257 if kind is np.uint16 else 1)}
        (tmp_path / str(number)).mkdir()
        data = arrays(write(tmp_path / str(number), changed))
        assert np.array_equal(data.train.show(torch.arange(12)).numpy(), exact.transpose(0, 3, 1, 2)), kind
    assert np.array_equal(to_bytes(np.array([[False, True]])), [[0, 255]])


def test_floating_point_images_stream_too(tmp_path: Path) -> None:
    whole = content()
    images = whole["train_images"] / 255
    data = arrays(many_files(tmp_path, whole | {"train_images": images}), in_memory=False)
    exact = whole["train_images"][4].transpose(2, 0, 1)
    assert np.array_equal(data.train.show(torch.tensor([4]))[0].numpy(), exact)
    damaged = np.load(tmp_path / "train_images.npy", mmap_mode="r+")
    damaged[5] = 3
    with pytest.raises(SettingError, match=r"data: train_images\[5\] cannot be read \(float64 from 3 to 3: must be"):
        data.train.show(torch.tensor([5]))


@both
@pytest.mark.parametrize(
    "labels",
    [
        np.arange(12)[:, None] % 3,  # as MedMNIST and Keras have them
        (np.arange(12) % 3).astype(np.float32),
        np.eye(3)[np.arange(12) % 3],
        (np.arange(12) % 3).astype(np.uint64),
    ],
)
def test_other_forms_of_labels(tmp_path: Path, write: Writer, labels: npt.NDArray[Any]) -> None:
    assert arrays(write(tmp_path, content(train_labels=labels))).train.targets.tolist() == [0, 1, 2] * 4


@both
def test_a_test_split(tmp_path: Path, write: Writer) -> None:
    test = RNG.integers(0, 256, (4, 9, 7, 3), dtype=np.uint8)
    path = write(tmp_path, content(test_images=test, test_labels=np.arange(4)))
    data = arrays(path)
    assert isinstance(data.test, Split)
    assert np.array_equal(data.test.images.numpy(), test.transpose(0, 3, 1, 2))
    assert data.class_names == ["0", "1", "2", "3"]
    assert arrays(path, only="any").val.targets.tolist() == [0, 1, 2, 0, 1]
    alone = arrays(path, only="test")
    assert alone.train is alone.val is alone.test
    assert alone.val.targets.tolist() == [0, 1, 2, 3]
    (tmp_path / "without").mkdir()
    missing = content(test_images=test, test_labels=np.arange(4), val_images=None, val_labels=None)
    data = arrays(write(tmp_path / "without", missing))
    assert data.val.targets.tolist() == [0, 1, 2, 3]
    assert data.test is None
    with pytest.raises(SettingError, match=r"split=val: data.path=.* has no such split, but train, test"):
        arrays(write(tmp_path / "without", missing), only="val")


def test_the_names_of_keras(tmp_path: Path) -> None:
    whole = content()
    named = {"x_train": "train_images", "y_train": "train_labels", "x_test": "val_images", "y_test": "val_labels"}
    data = arrays(one_file(tmp_path, {name: whole[ours] for name, ours in named.items()}))
    assert (len(data.train), data.val.targets.tolist()) == (12, [0, 1, 2, 0, 1])


@both
def test_class_names(tmp_path: Path, write: Writer) -> None:
    data = arrays(write(tmp_path, content(class_names=np.array(["ant", "bee", "cat", "dog"]))))
    assert data.class_names == ["ant", "bee", "cat", "dog"]


def test_arrays_that_do_not_fit_are_streamed_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = content()
    path = many_files(tmp_path, whole)
    in_memory = arrays(path, in_memory=True)
    monkeypatch.setattr(loading, "MEMORY_LIMIT", 1000)
    stream = arrays(path).train
    assert isinstance(stream, Stream)
    assert isinstance(stream.source.images, np.memmap)  # type: ignore[attr-defined]
    assert isinstance(arrays(path, in_memory=False).val, Stream)
    assert isinstance(in_memory.train, Split)
    assert torch.equal(stream.show(torch.arange(12)), in_memory.train.images)
    assert stream.source.name(3) == "train_images[3]"
    batches = [ImageDataModule(data, batch_size=4, workers=0).train_dataloader() for data in (arrays(path), in_memory)]
    for mine, theirs in zip(*batches, strict=True):
        for name in ("inputs", "targets", "indices"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))


@both
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_images": None}, "holds no val_images; needed are arrays of these names"),
        (
            {"train_images": np.full((12, 9, 7, 3), 255.0)},
            r"train_images is float64 from 255 to 255: must be uint8",
        ),
        (
            {"val_images": np.full((5, 9, 7, 3), -0.5)},
            r"val_images is float64 from -0.5 to -0.5: must be uint8",
        ),
        (
            {"train_images": np.full((12, 9, 7, 3), 256)},
            r"train_images is int64 from 256 to 256: must be uint8",
        ),
        (
            {"train_images": np.full((12, 9, 7, 3), 255, np.uint16)},
            r"train_images is uint16 and looks black",
        ),
        ({"train_images": np.full((12, 9, 7, 3), "a")}, r"train_images is values of type <U1: must be numbers"),
        ({"val_images": np.zeros((5, 4), np.uint8)}, r"val_images is uint8 \(5, 4\)"),
        ({"val_images": np.zeros((5, 3, 32, 32), np.uint8)}, r"has 32 channels; must be \(N, H, W, C\)"),
        ({"train_labels": np.arange(12) + 0.5}, "train_labels hold 0.5; must be class numbers, which are whole"),
        ({"train_labels": np.array(list("abcabcabcabc"))}, "train_labels hold text such as 'a'; must be class numbers"),
        ({"train_labels": np.zeros(11, int)}, r"train_labels are 11 for 12 images; there must be one for each"),
        (
            {"train_labels": np.ones((12, 3), int)},
            r"val_labels are int64 of shape \(5,\); must be \(N, labels\) of 0 and 1 in all splits",
        ),
        (
            {"train_labels": np.full((12, 3), 0.2)},
            r"train_labels are of shape \(12, 3\); must be class numbers from 0",
        ),
        ({"train_labels": None}, "holds no train_labels; needed are"),
        ({"test_images": np.zeros((5, 9, 7, 3), np.uint8)}, "holds test_images without test_labels; add them"),
        ({"train_labels": np.arange(12) - 1}, "labels run from -1 to 10"),
        ({"class_names": np.array(["one"])}, "labels run from 0 to 2, and there are 1 classes"),
        ({"val_images": np.zeros((5, 8, 8, 3), np.uint8)}, "must be of one shape"),
        ({"val_images": np.zeros((0, 9, 7, 3), np.uint8), "val_labels": np.zeros(0, int)}, "val split is empty"),
        ({"train_images": np.array([None] * 12)}, "cannot be read as arrays"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, write: Writer, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        arrays(write(tmp_path, content(**changes)))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^data.path=.*none.npz: no such file; give an .npz file with train_images"):
        arrays(str(tmp_path / "none.npz"))


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_no_archive(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "set.npz").write_bytes(damage)
    with pytest.raises(SettingError, match=r"^data.path=.*set.npz: cannot be read as arrays"):
        arrays(str(tmp_path / "set.npz"))


def test_a_truncated_archive(tmp_path: Path) -> None:
    file = Path(one_file(tmp_path, content()))
    file.write_bytes(file.read_bytes()[:-400])
    with pytest.raises(SettingError, match="cannot be read as arrays"):
        arrays(str(file))


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "train_images.npy", np.zeros(3))
    with pytest.raises(SettingError, match="is one array"):
        arrays(str(tmp_path / "train_images.npy"))
