"""Data of one's own, by dotted path."""

from pathlib import Path
from typing import Any

import pytest
import torch

from distill.data import ImageSource, Split, Stream
from distill.data.custom import custom
from distill.data.digits import digits
from distill.errors import SettingError

MODULE = '''
import numpy as np
import torch
from PIL import Image

from distill.data import ImageSource, Split
from distill.data.digits import digits


class Pairs:
    """A torch data set, of images in one of the forms that it may take."""

    def __init__(self, form, count, size=8, **attributes):
        self.form, self.count, self.size = form, count, size
        vars(self).update(attributes)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        pixels = np.full((self.size, self.size, 3), index, np.uint8)
        forms = {
            "pil": Image.fromarray(pixels),
            "grey": Image.fromarray(pixels[..., 0]),
            "tensor": torch.from_numpy(pixels.transpose(2, 0, 1).copy()),
            "array": pixels.transpose(2, 0, 1),
            "plane": pixels[..., 0],
            "last": pixels,
            "last tensor": torch.from_numpy(pixels),
            "float": torch.from_numpy(pixels.transpose(2, 0, 1) / 255),
            "normalised": torch.from_numpy(pixels / 255) - 0.5,
        }
        return forms[self.form], self.label(index)

    label = staticmethod(lambda index: index % 3)


def pair(form="pil", count=9, targets=None, **attributes):
    known = [{} if targets is None else {"targets": targets[:number]} for number in (count, 4)]
    return Pairs(form, count, **attributes, **known[0]), Pairs(form, 4, **attributes, **known[1])


def one(form="pil"):
    return Pairs(form, 3)


def triple():
    return Pairs("pil", 9), Pairs("pil", 4), Pairs("pil", 2)


def labelled(label, **attributes):
    return pair(label=FORMS[label], **attributes)


FORMS = {
    "one-hot": lambda index: torch.eye(3)[index % 3],
    "(1,)": lambda index: np.array([index % 3], np.uint8),
    "whole": lambda index: float(index % 3),
    "tensor": lambda index: torch.tensor(index % 3, dtype=torch.int32),
    "age": lambda index: index % 3 + 0.7,
    "several": lambda index: np.array([1, 1, 0]),
    "text": lambda index: "abc"[index % 3],
    "boxes": lambda index: [[1, 2]] * index,
    "halved": lambda index: index % 3 // 2,
}


def parts():
    whole = pair(targets=[0, 1, 2] * 3, classes=["a", "b", "c"])[0]
    return torch.utils.data.Subset(whole, [8, 3, 4]), torch.utils.data.Subset(whole, [1, 2])


def dicts():
    return [{"image": 1, "label": 2}], []


def renamed():
    return pair(classes=["a", "b", "c"])[0], pair(classes=["a", "c", "b"])[1]


def mixed():
    images = [Image.new(mode, (8, 8), 7) for mode in ("RGB", "L", "LA", "P")]
    return [(image, number % 2) for number, image in enumerate(images)], [(images[1], 0)]
'''


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_images.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_source_comes_as_it_is() -> None:
    data = custom("my_images.digits")
    assert isinstance(data, ImageSource)
    assert torch.equal(data.train.images, digits().train.images)  # type: ignore[union-attr]


FORMS = [("pil", 3), ("grey", 1), ("tensor", 3), ("array", 3), ("plane", 1), ("float", 3)]


@pytest.mark.parametrize(("form", "channels"), FORMS)
def test_a_pair_of_data_sets(form: str, channels: int) -> None:
    data = custom("my_images.pair", {"form": form})
    assert isinstance(data.train, Split)
    assert data.train.shape == (channels, 8, 8)
    assert data.train.images[:, 0, 0, 0].tolist() == list(range(9))
    assert data.train.targets.tolist() == [0, 1, 2] * 3
    assert data.class_names == ["0", "1", "2"]
    stream = custom("my_images.pair", {"form": form}, image_size=6, in_memory=False)
    assert isinstance(stream.val, Stream)
    assert stream.val.show(torch.arange(4)).shape == (4, channels, 6, 6)


def test_known_targets_and_classes_are_taken() -> None:
    attributes: dict[str, Any] = {"targets": [0, 1, 2, 0], "classes": ["a", "b", "c", "d", "e"]}
    data = custom("my_images.pair", {"count": 4, **attributes})
    assert data.train.targets.tolist() == [0, 1, 2, 0]
    assert data.class_names == attributes["classes"]


def test_targets_that_are_not_the_items_labels_are_refused() -> None:
    """As under a target_transform."""
    given: dict[str, Any] = {"label": "halved", "classes": ["a", "b", "c"]}
    message = r"the labels of train are 1 for item 1 by its `targets`, but 0 by the item itself \(is there a target_tr"
    with pytest.raises(SettingError, match=f"^data.target=my_images.labelled: {message}"):
        custom("my_images.labelled", {**given, "targets": [0, 1, 2] * 3})
    advised = {"targets": [0, 0, 1] * 3, "classes": ["a", "b"]}
    assert custom("my_images.labelled", {**given, **advised}).train.targets.tolist() == [0, 0, 1] * 3


@pytest.mark.parametrize(("form", "advice"), [("last", "transpose"), ("last tensor", "permute")])
def test_channels_last_are_refused(form: str, advice: str) -> None:
    message = (
        r"the images of train are of shape \(8, 8, 3\), channels last; must be \(channels, height, width\): give image"
    )
    with pytest.raises(SettingError, match=rf"^data.target=my_images.pair: {message}.{advice}\(2, 0, 1\)$"):
        custom("my_images.pair", {"form": form})


@pytest.mark.parametrize("label", ["one-hot", "(1,)", "whole", "tensor"])
def test_other_forms_of_labels(label: str) -> None:
    data = custom("my_images.labelled", {"label": label})
    assert data.train.targets.tolist() == [0, 1, 2] * 3
    assert data.class_names == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("age", "hold 0.7; must be class numbers, which are whole, from 0"),
        (
            "several",
            "name 2 classes at once in places; images with several classes, or none, are read by data=arrays",
        ),
        ("text", "hold text such as 'a'; must be class numbers from 0, one for each image"),
        ("boxes", "hold list of different lengths or kinds; must be class numbers from 0, one for each image"),
    ],
)
def test_labels_that_name_no_class(label: str, message: str) -> None:
    with pytest.raises(SettingError, match=f"^data.target=my_images.labelled: the labels of train {message}"):
        custom("my_images.labelled", {"label": label})


def broken(index: int) -> int:
    raise OSError("the disk is gone\nand so are we")


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("dicts", {}, r"the items of train are dicts; must be \(image, label\)"),
        (
            "renamed",
            {},
            "the classes of val are not those of train, such as c in place of b; must be the same",
        ),
        ("pair", {"targets": [0, 1]}, "the labels of train are 2 by `targets` for 9 items"),
        (
            "pair",
            {"label": broken},
            r"the labels of train: item 0 cannot be read \(OSError: the disk is gone\); mend",
        ),
    ],
)
def test_what_is_wrong_with_data_sets_is_one_line(target: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^data.target=my_images.{target}: {message}"):
        custom(f"my_images.{target}", arguments)


def test_a_part_of_a_data_set_keeps_its_labels_and_names() -> None:
    data = custom("my_images.parts")
    assert data.train.targets.tolist() == [2, 0, 1]
    assert data.train.images[:, 0, 0, 0].tolist() == [8, 3, 4]  # type: ignore[union-attr]
    assert data.class_names == ["a", "b", "c"]


def test_grey_images_among_coloured_ones_become_coloured() -> None:
    data = custom("my_images.mixed")
    assert data.train.shape == (3, 8, 8)
    assert data.val.shape == (3, 8, 8)


def test_a_third_data_set_is_the_test_split() -> None:
    data = custom("my_images.triple")
    assert data.test is not None
    assert data.test.targets.tolist() == [0, 1]
    assert len(custom("my_images.triple", only="test").val) == 2
    assert len(custom("my_images.one", only="any").val) == 3


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_package.load", r"cannot be imported \(No module named 'no_such_package'\)"),
        ("my_images.nothing", "has no attribute 'nothing'"),
        ("my images", "cannot be imported"),
        ("my_images.one", r"returned Pairs; must return an ImageSource or a pair \(training, validation\)"),
    ],
)
def test_what_cannot_be_used(target: str, message: str) -> None:
    with pytest.raises(SettingError, match=f"^data.target={target}: .*{message}"):
        custom(target)


def test_normalised_images_are_refused() -> None:
    with pytest.raises(SettingError, match=r"the images of train are float32 from -0.5 to -0.5: must be uint8"):
        custom("my_images.pair", {"form": "normalised"})
