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
            "float": torch.from_numpy(pixels / 255),
        }
        return forms[self.form], index % 3


def pair(form="pil", count=9, **attributes):
    return Pairs(form, count, **attributes), Pairs(form, 4, **attributes)


def one(form="pil"):
    return Pairs(form, 3)
'''


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_images.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_source_comes_as_it_is() -> None:
    data = custom("my_images.digits")
    assert isinstance(data, ImageSource)
    assert torch.equal(data.train.images, digits().train.images)  # type: ignore[union-attr]


@pytest.mark.parametrize(("form", "channels"), [("pil", 3), ("grey", 1), ("tensor", 3), ("array", 3), ("plane", 1)])
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
    attributes: dict[str, Any] = {"targets": [4] * 4, "classes": ["a", "b", "c", "d", "e"]}
    data = custom("my_images.pair", {"count": 4, **attributes})
    assert data.train.targets.tolist() == [4] * 4
    assert data.class_names == attributes["classes"]


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
    with pytest.raises(SettingError, match=r"train\[0\] cannot be read \(it is torch.float64 \(8, 8, 3\), not uint8"):
        custom("my_images.pair", {"form": "float"})
