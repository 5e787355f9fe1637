"""Images with masks from files: the same masks of palettes and of grey, and one line for what cannot be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distill.data.segmentation_folder import segmentation_folder
from distill.data.source import ImageSource
from distill.data.split import Split
from distill.errors import SettingError
from distill.tasks import SemanticSegmentation

NAMES = ["sky", "road", "car"]
SIZE = (20, 12)  # width, height


def write(root: Path, part: str, number: int, size: tuple[int, int] = SIZE, *, palette: bool = False) -> np.ndarray:
    """An image and its mask, which is given back."""
    random = np.random.default_rng(number)
    (root / part / "images").mkdir(parents=True, exist_ok=True)
    (root / part / "masks").mkdir(exist_ok=True)
    pixels = random.integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / part / "images" / f"{number}.png")
    mask = random.choice([0, 1, 2, 255], size=(size[1], size[0])).astype(np.uint8)
    image = Image.fromarray(mask)
    if palette:
        image.putpalette([value for colour in range(256) for value in (255 - colour, colour, 7)])
        assert image.mode == "P"
    image.save(root / part / "masks" / f"{number}.png")
    return mask


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    root = tmp_path / "streets"
    for number in range(4):
        write(root, "train" if number < 2 else "val", number, palette=number % 2 == 0)
    (root / "classes.txt").write_text("sky\nroad\n\ncar\n")
    return root


def test_palettes_and_grey_hold_the_numbers_of_classes(streets: Path, tmp_path: Path) -> None:
    expected = [write(tmp_path / "again", "train", number) for number in range(4)]
    source = segmentation_folder(str(streets))
    assert list(source.class_names) == NAMES
    assert source.train.shape == (3, 12, 20), "images of one small size keep it"
    assert isinstance(source.task, SemanticSegmentation)
    for split, numbers in ((source.train, (0, 1)), (source.val, (2, 3))):
        assert torch.equal(split.targets, torch.from_numpy(np.stack([expected[i] for i in numbers])))


def test_images_of_any_size_fit_whole_and_what_is_padded_does_not_count(streets: Path) -> None:
    mask = write(streets, "train", 7, size=(40, 16))
    source = segmentation_folder(str(streets), image_size=20)
    assert source.train.shape == (3, 20, 20)
    images, masks = source.train.show(torch.arange(3)), source.train.targets
    assert masks.shape == (3, 20, 20)
    assert (masks[0, 12:] == 255).all(), "20 x 12 stays as it is"
    assert (images[0, :, 12:] == 0).all()
    assert (masks[2, 8:] == 255).all(), "40 x 16 becomes 20 x 8"
    assert torch.equal(masks[2, :8], torch.from_numpy(mask[1::2, 1::2]))


def test_names_may_be_given_or_are_numbers(streets: Path, tmp_path: Path) -> None:
    other = tmp_path / "names.txt"
    other.write_text("a\nb\nc\nd")
    assert list(segmentation_folder(str(streets), str(other)).class_names) == ["a", "b", "c", "d"]
    assert list(segmentation_folder(str(streets), ["x", "y", "z"]).class_names) == ["x", "y", "z"]
    (streets / "classes.txt").unlink()
    assert list(segmentation_folder(str(streets)).class_names) == ["0", "1", "2"]


def of_another_size(root: Path) -> None:
    Image.new("L", (7, 5)).save(root / "train" / "masks" / "0.png")


def outside(root: Path) -> None:
    Image.new("L", SIZE, 3).save(root / "val" / "masks" / "3.png")


def in_colours(root: Path) -> None:
    Image.new("RGB", SIZE).save(root / "train" / "masks" / "1.png")


def missing(root: Path) -> None:
    (root / "train" / "masks" / "1.png").unlink()


def broken(root: Path) -> None:
    (root / "train" / "masks" / "1.png").write_bytes(b"nothing")


def without_masks(root: Path) -> None:
    (root / "val" / "masks").rename(root / "val" / "labels")


def without_validation(root: Path) -> None:
    (root / "val").rename(root / "more")


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (of_another_size, r"0\.png is 7 x 5, and its image 20 x 12"),
    (outside, r"3\.png holds 3, and there are 3 classes: 0 to 2, or data\.ignore_index=255"),
    (in_colours, r"1\.png is RGB; must have a palette or be grey"),
    (missing, r"images.1\.png has no mask .*masks.1\.png"),
    (broken, r"1\.png cannot be read \(UnidentifiedImageError\)"),
]


@pytest.mark.parametrize(("change", "says"), FAULTS, ids=[change.__name__ for change, _ in FAULTS])
def test_what_cannot_be_is_one_line_or_left_out(streets: Path, change: Callable[[Path], None], says: str) -> None:
    change(streets)
    with pytest.raises(SettingError, match=says + r".*data\.on_error=skip") as refused:
        segmentation_folder(str(streets))
    assert "\n" not in str(refused.value)
    source = segmentation_folder(str(streets), on_error="skip")
    assert len(source.train) + len(source.val) == 3
    assert "left out: 1 images" in source.notes[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [(without_masks, "the val split .* holds no folder masks"), (without_validation, "has no folder val")],
)
def test_what_is_not_there_is_named(streets: Path, change: Callable[[Path], None], says: str) -> None:
    change(streets)
    with pytest.raises(SettingError, match=says):
        segmentation_folder(str(streets))


def test_a_stream_has_the_same_images(streets: Path) -> None:
    kept, streamed = (segmentation_folder(str(streets), in_memory=keep) for keep in (True, False))
    assert isinstance(kept.train, Split)
    assert not isinstance(streamed.train, Split)
    for one, other in ((kept.train, streamed.train), (kept.val, streamed.val)):
        assert torch.equal(one.show(torch.arange(2)), other.show(torch.arange(2)))
        assert torch.equal(one.targets, other.targets)
    alone: ImageSource = segmentation_folder(str(streets), only="val")
    assert torch.equal(alone.val.targets, kept.val.targets)
