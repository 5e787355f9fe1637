"""Directory trees of images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from distill.data import Split, Stream, loading
from distill.data.image_folder import image_folder
from distill.errors import SettingError


@pytest.fixture
def root(folder: Any) -> Path:
    """Two classes of images of all sizes."""
    folder("train", {"cat": 6, "dog": 4})
    return folder("val", {"cat": 2, "dog": 1})  # type: ignore[no-any-return]


def test_train_and_val_folders(root: Path) -> None:
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    (root / "train" / ".hidden").mkdir()
    data = image_folder(str(root))
    assert data.class_names == ["cat", "dog"]
    assert data.train.targets.tolist() == [0] * 6 + [1] * 4
    assert data.val.targets.tolist() == [0, 0, 1]
    assert data.train.shape == (3, 224, 224)
    assert isinstance(data.train, Stream)
    assert data.train.source.name(7) == str(root / "train" / "dog" / "001.png")


def test_images_are_those_of_the_files(folder: Any) -> None:
    folder("train", {"a": 3, "b": 2}, size=(20, 14))
    root = folder("val", {"a": 1, "b": 1}, size=(20, 14))
    in_memory, stream = image_folder(str(root)), image_folder(str(root), in_memory=False)
    assert isinstance(in_memory.train, Split)  # one size: memory changes nothing
    assert isinstance(stream.train, Stream)
    pixels = np.asarray(Image.open(root / "train" / "b" / "001.png"))
    assert np.array_equal(in_memory.train.images[4].numpy(), pixels.transpose(2, 0, 1))
    assert torch.equal(stream.train.show(torch.arange(5)), in_memory.train.images)


@pytest.mark.parametrize("name", ["valid", "validation", "test"])
def test_other_names_for_validation(folder: Any, name: str) -> None:
    folder("train", {"a": 2, "b": 2})
    assert len(image_folder(str(folder(name, {"a": 1, "b": 1}))).val) == 2


def test_a_fraction_validates(folder: Any) -> None:
    root = folder(".", {"a": 20, "b": 10}, size=(8, 8))
    data = image_folder(str(root), val_fraction=0.2)
    assert torch.bincount(data.val.targets).tolist() == [4, 2]
    assert torch.bincount(data.train.targets).tolist() == [16, 8]
    again = image_folder(str(root), val_fraction=0.2)
    assert torch.equal(data.val.images, again.val.images)
    both = torch.cat([data.train.images, data.val.images]).flatten(1)
    assert len(both.unique(dim=0)) == 30


def test_a_fraction_of_the_train_folder_wins_over_a_val_folder(root: Path) -> None:
    data = image_folder(str(root), val_fraction=0.5)
    assert (len(data.train), len(data.val)) == (5, 5)


def test_sizes(root: Path) -> None:
    data = image_folder(str(root), image_size=16, resize=20, in_memory=True)
    assert isinstance(data.train, Split)
    stream = image_folder(str(root), image_size=16, resize=20, in_memory=False).train
    assert torch.equal(data.train.images, stream.show(torch.arange(10)))
    assert isinstance(image_folder(str(root), image_size=16).train, Stream)  # auto leaves other sizes to streaming


def test_auto_streams_what_does_not_fit(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder("train", {"a": 2, "b": 2}, size=(8, 8))
    root = folder("val", {"a": 1, "b": 1}, size=(8, 8))
    monkeypatch.setattr(loading, "MEMORY_LIMIT", 6 * 3 * 8 * 8 - 1)
    assert isinstance(image_folder(str(root)).train, Stream)
    monkeypatch.setattr(loading, "MEMORY_LIMIT", 6 * 3 * 8 * 8)
    assert isinstance(image_folder(str(root)).train, Split)


def test_auto_streams_where_one_image_is_of_another_size(folder: Any) -> None:
    root = folder(".", {"a": 40, "b": 40}, size=(8, 8))
    Image.new("RGB", (9, 8)).save(root / "a" / "001.png")
    data = image_folder(str(root), val_fraction=0.1)
    assert data.train.shape == (3, 8, 8)
    assert isinstance(data.train, Stream)
    assert isinstance(data.val, Stream)


def test_large_images_of_one_size_do_not_keep_it(folder: Any) -> None:
    root = folder(".", {"a": 2, "b": 2}, size=(300, 200))
    assert image_folder(str(root), val_fraction=0.5).train.shape == (3, 224, 224)


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_image_becomes_grey_or_colour(tmp_path: Path, mode: str) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            image = Image.new(mode, (6, 5))
            save = {"transparency": b"\x00\x80"} if mode == "P" else {}
            image.save(tmp_path / label / f"{number}.{'tiff' if mode in ('CMYK', 'I;16') else 'png'}", **save)
    assert image_folder(str(tmp_path), val_fraction=0.5).channels == 3
    assert image_folder(str(tmp_path), val_fraction=0.5, channels=1).channels == 1


def damage(root: Path) -> None:
    """One file cut short, one that is no image, one that isn't there."""
    whole = (root / "train" / "cat" / "002.png").read_bytes()
    (root / "train" / "cat" / "002.png").write_bytes(whole[: len(whole) // 2])
    (root / "train" / "dog" / "003.png").write_text("no image")
    (root / "val" / "cat" / "broken.png").symlink_to(root / "nowhere.png")


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("name", ["cat/002.png", "dog/003.png"])
def test_a_broken_image_stops_with_one_line(root: Path, in_memory: bool, name: str) -> None:
    for other in {"cat/002.png", "dog/003.png"} - {name}:
        (root / "train" / other).unlink(missing_ok=True)
    damaged = root / "train" / name
    damaged.write_bytes(damaged.read_bytes()[:900] if name.startswith("cat") else b"no image")
    with pytest.raises(SettingError) as caught:
        image_folder(str(root), image_size=16, in_memory=in_memory).train.show(torch.arange(9))  # type: ignore[union-attr]
    assert str(caught.value).startswith(f"data: {damaged} cannot be read (")
    assert str(caught.value).endswith("or leave such images out with data.on_error=skip")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", ["gone", "cut short"])
def test_an_image_that_goes_bad_in_mid_epoch_stops_with_one_line(root: Path, fault: str) -> None:
    images = image_folder(str(root), image_size=16, in_memory=False).train
    images.show(torch.arange(9))  # type: ignore[union-attr]
    file = root / "train" / "cat" / "002.png"
    whole = file.read_bytes()
    file.unlink()
    if fault == "cut short":
        file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SettingError) as caught:
        images.show(torch.arange(9))  # type: ignore[union-attr]
    assert str(caught.value).startswith(f"data: {file} cannot be read (")
    assert "\n" not in str(caught.value)


def test_a_broken_image_that_no_sample_met_stops_the_decoding(folder: Any) -> None:
    root = folder(".", {"a": 60, "b": 60}, size=(8, 8))
    (root / "a" / "002.png").write_bytes(b"")
    with pytest.raises(SettingError, match=r"002.png cannot be read"):
        image_folder(str(root), val_fraction=0.1)


def test_skipping_into_memory_leaves_them_out_and_counts(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    damage(root)
    data = image_folder(str(root), image_size=16, in_memory=True, on_error="skip")
    assert data.train.targets.tolist() == [0] * 5 + [1] * 3
    assert data.val.targets.tolist() == [0, 0, 1]
    whole = image_folder(str(root), image_size=16, in_memory=False, on_error="skip").train
    assert torch.equal(data.train.show(torch.arange(8)), whole.show(torch.tensor([0, 1, 3, 4, 5, 6, 7, 8])))
    named = [message for message in caplog.messages if "cannot be read" in message]
    assert [Path(message.split(" ")[0]).name for message in named] == ["002.png", "003.png", "broken.png"]
    assert "2 of 10 images could not be read and were left out" in caplog.messages
    assert "1 of 4 images could not be read and were left out" in caplog.messages


def test_an_empty_class(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split in ("train", "val"):
        (root / split / "bird").mkdir()
    message = "the class folder .*train/bird holds no images"
    with pytest.raises(SettingError, match=f"{message}; fill or remove it, or go on without with data.on_error=skip"):
        image_folder(str(root))
    data = image_folder(str(root), on_error="skip")
    assert data.class_names == ["bird", "cat", "dog"]
    assert data.train.targets.unique().tolist() == [1, 2]
    assert sum("holds no images" in line for line in caplog.messages) == 2


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^data.root=.*none: no such directory; give one that holds train/CLASS/"):
        image_folder(str(tmp_path / "none"))


def test_no_classes(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="holds no folders; there must be one for each class"):
        image_folder(str(tmp_path), val_fraction=0.1)


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(SettingError, match=r"holds no images; known are .jpg"):
        image_folder(str(tmp_path), val_fraction=0.1)


def test_no_validation(folder: Any) -> None:
    root = folder(".", {"a": 2})
    with pytest.raises(SettingError, match=r"set data.val_fraction, e.g. to 0.1"):
        image_folder(str(root))


def test_other_classes_in_validation(root: Path) -> None:
    (root / "val" / "dog").rename(root / "val" / "wolf")
    with pytest.raises(SettingError, match=r"hold different classes, e.g. \['dog', 'wolf'\]"):
        image_folder(str(root))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"val_fraction": 0.0}, "val_fraction=0.0: must be above 0 and below 1"),
        ({"channels": 2}, "channels=2: must be 3 for colour or 1 for grey"),
        ({"image_size": 0}, "image_size=0: must be 1 or more pixels"),
        ({"image_size": 32, "resize": 30}, "resize=30: must be at least image_size=32"),
        ({"resize": 256}, "resize=256: must be at least image_size=None, and given with it"),
        ({"in_memory": "yes"}, "in_memory=yes: must be true, false or auto"),
        ({"on_error": "ignore"}, "on_error=ignore: must be stop or skip"),
    ],
)
def test_settings_out_of_range(tmp_path: Path, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        image_folder(str(tmp_path), **setting)
