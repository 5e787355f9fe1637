"""A Hugging Face data set, written here and read from disk."""

import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from distill.data import Split, Stream
from distill.data.huggingface import huggingface
from distill.errors import SettingError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def rows(count: int, names: list[str] | None = None, start: int = 0) -> Any:
    features = {
        "picture": datasets.Image(),
        "kind": datasets.ClassLabel(names=names) if names else datasets.Value("int64"),
        "comment": datasets.Value("string"),
    }
    content = {
        "picture": [Image.fromarray(np.full((6, 5, 3), start + number, np.uint8)) for number in range(count)],
        "kind": [number % 3 for number in range(count)],
        "comment": ["none"] * count,
    }
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


NAMES = ["ant", "bee", "cat"]


@pytest.fixture
def saved(tmp_path: Path) -> str:
    datasets.DatasetDict(train=rows(9, NAMES), test=rows(6, NAMES, start=100)).save_to_disk(tmp_path / "set")
    return str(tmp_path / "set")


def test_a_saved_set(saved: str) -> None:
    data = huggingface(saved)
    assert isinstance(data.train, Split)
    assert data.class_names == NAMES
    assert data.train.shape == (3, 6, 5)
    assert data.train.images[:, 0, 0, 0].tolist() == list(range(9))
    assert data.val.images[:, 2, 5, 4].tolist() == list(range(100, 106))  # type: ignore[union-attr]
    assert data.val.targets.tolist() == [0, 1, 2] * 2


def test_it_streams(saved: str) -> None:
    data = huggingface(saved, channels=1, image_size=4, in_memory=False)
    assert isinstance(data.train, Stream)
    assert data.train.show(torch.tensor([7])).tolist() == [[[[7] * 4] * 4]]
    assert data.train.source.name(7) == f"{saved}: train[7]"


def test_a_split_that_is_missing_comes_from_the_training_split(tmp_path: Path) -> None:
    rows(30, NAMES).save_to_disk(tmp_path / "set")
    data = huggingface(str(tmp_path / "set"), val_fraction=0.2)
    assert torch.bincount(data.val.targets).tolist() == [2, 2, 2]
    both = torch.cat([split.images[:, 0, 0, 0] for split in (data.train, data.val)])  # type: ignore[union-attr]
    assert sorted(both.tolist()) == list(range(30))
    assert ((data.val.images[:, 0, 0, 0] % 3) == data.val.targets).all()  # type: ignore[union-attr]


def test_labels_may_be_numbers(tmp_path: Path) -> None:
    rows(9).save_to_disk(tmp_path / "set")
    assert huggingface(str(tmp_path / "set"), label_column="kind", val_fraction=0.4).class_names == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"train_split": "trian"}, "data.train_split=trian: no such split; did you mean train?"),
        ({"val_split": "dev"}, "data.val_split=dev: no such split; known: test, train"),
        ({"image_column": "pictures"}, r"data.image_column=pictures: no such column; did you mean picture\?"),
        (
            {"label_column": "comment"},
            r"data.label_column=comment: holds text; make classes of it with dataset.class_encode_column\('comment'\)",
        ),
    ],
)
def test_what_is_not_there_is_named(saved: str, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{message}"):
        huggingface(saved, **setting)


def test_columns_that_cannot_be_guessed(tmp_path: Path) -> None:
    rows(3).save_to_disk(tmp_path / "set")
    with pytest.raises(
        SettingError, match=r"data.label_column=null: 0 columns hold ClassLabels; name one of picture, kind"
    ):
        huggingface(str(tmp_path / "set"))


@pytest.mark.parametrize(
    ("setting", "message"), [({"channels": 4}, "channels=4"), ({"val_fraction": 1.0}, "val_fraction=1.0")]
)
def test_settings_out_of_range(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}: must be"):
        huggingface("anything", **setting)


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(SettingError, match=r"^data.path=.*set: cannot be loaded \(.*\); give a name on huggingface.co"):
        huggingface(str(tmp_path / "set"))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SettingError, match="needs the package `datasets`; pip install 'distill"):
        huggingface("anything")


def test_a_test_split_beside_a_validation_split(tmp_path: Path) -> None:
    parts = {"train": rows(9, NAMES), "dev": rows(4, NAMES, start=50), "test": rows(6, NAMES, start=100)}
    datasets.DatasetDict(**parts).save_to_disk(tmp_path / "set")
    path = str(tmp_path / "set")
    data = huggingface(path)
    assert data.test is not None
    assert (len(data.val), len(data.test)) == (4, 6)
    assert data.test.show(torch.tensor([0]))[0, 0, 0, 0] == 100
    assert [len(huggingface(path, only=only).val) for only in ("any", "train", "val", "test")] == [4, 9, 4, 6]  # type: ignore[arg-type]
    chosen = huggingface(path, val_split="test")
    assert (len(chosen.val), chosen.test) == (6, None)
    datasets.DatasetDict(test=parts["test"]).save_to_disk(tmp_path / "alone")
    assert len(huggingface(str(tmp_path / "alone"), only="any").val) == 6


def test_a_set_in_one_piece_is_wanted_whole(tmp_path: Path) -> None:
    rows(30, NAMES).save_to_disk(tmp_path / "set")
    assert len(huggingface(str(tmp_path / "set"), only="any").val) == 30


def test_pixels_are_those_of_a_viewer(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 5)).save(tmp_path / "turned.png", exif=exif)
    Image.new("RGBA", (5, 6)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((6, 5), 100 * 257, np.uint16)).save(tmp_path / "deep.png")
    content = {"picture": [str(tmp_path / f"{name}.png") for name in ("turned", "clear", "deep")], "kind": [0, 1, 2]}
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=NAMES)})
    whole = datasets.Dataset.from_dict(content, features=features)
    datasets.DatasetDict(train=whole, validation=whole).save_to_disk(tmp_path / "set")
    data = huggingface(str(tmp_path / "set"))
    assert data.train.shape == (3, 6, 5)
    assert data.train.images[:, 0, 0, 0].tolist() == [0, 255, 100]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0.0, 1.0, 2.0], None), ([0.0, 1.5, 2.0], "hold 1.5; must be class numbers"), (list("abc"), "holds text; make")],
)
def test_other_kinds_of_labels(tmp_path: Path, labels: list[Any], message: str | None) -> None:
    table = rows(3).remove_columns("kind").add_column("kind", labels)
    datasets.DatasetDict(train=table, validation=table).save_to_disk(tmp_path / "set")
    if message is None:
        assert huggingface(str(tmp_path / "set"), label_column="kind").train.targets.tolist() == [0, 1, 2]
        return
    with pytest.raises(SettingError, match=message):
        huggingface(str(tmp_path / "set"), label_column="kind")


def test_splits_that_number_their_classes_differently_are_refused(tmp_path: Path) -> None:
    datasets.DatasetDict(train=rows(9, NAMES), test=rows(6, NAMES[::-1])).save_to_disk(tmp_path / "set")
    with pytest.raises(SettingError, match="the classes of val are not those of train, such as cat in place of ant"):
        huggingface(str(tmp_path / "set"))
