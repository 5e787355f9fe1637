"""Images without labels beside those of a training split."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from distill.data.digit_scenes import digit_scenes
from distill.data.digits import digits
from distill.data.image_folder import image_folder
from distill.data.module import DataModule
from distill.data.split import Split
from distill.data.stream import Stream
from distill.data.unlabeled import with_unlabeled
from distill.errors import SettingError
from distill.methods import CRD, DKD, KD, Composite
from distill.tasks import UNKNOWN
from distill.tasks.requirements import check_without_labels


def save(images: Tensor, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image.squeeze(0).numpy()).save(directory / f"{number:04}.png")
    return directory


def shown(module: DataModule) -> tuple[Tensor, Tensor]:
    batches = list(module.train_dataloader())
    return torch.cat([batch.indices for batch in batches]), torch.cat([batch.targets for batch in batches])


def test_they_follow_the_labelled_images_as_they_are(tmp_path: Path) -> None:
    source = digits()
    directory = save(source.val.show(torch.arange(3)), tmp_path / "more" / "deep").parent
    (directory / "readme.txt").write_text("not an image")
    joined = with_unlabeled(source, str(directory))
    assert joined.unlabeled == 3
    assert isinstance(joined.train, Split)
    assert torch.equal(joined.train.images[:-3], source.train.show(torch.arange(len(source.train))))
    assert torch.equal(joined.train.images[-3:], source.val.show(torch.arange(3)))
    assert joined.train.targets[-3:].tolist() == [UNKNOWN] * 3
    assert joined.train.name(len(source.train)).endswith("0000.png")
    module = DataModule(joined, batch_size=50)
    torch.testing.assert_close(module.shown(), DataModule(source, batch_size=50).shown())
    indices, targets = shown(module)
    assert indices.sort().values.tolist() == list(range(len(source.train) + 3))
    assert (targets == UNKNOWN).sum() == 3
    assert (indices[targets == UNKNOWN] >= len(source.train)).all()


def test_an_array_of_another_size_is_scaled(tmp_path: Path) -> None:
    source = digits()
    images = np.full((3, 16, 20), 40, np.uint8) * np.arange(1, 4, dtype=np.uint8)[:, None, None]
    np.save(tmp_path / "more.npy", images)
    joined = with_unlabeled(source, str(tmp_path / "more.npy"))
    assert isinstance(joined.train, Split)
    assert joined.train.images[-3:].flatten(1).float().mean(1).tolist() == [40, 80, 120]
    assert joined.train.name(len(source.train)) == "more[0]"


def test_files_stream_with_files(tmp_path: Path) -> None:
    pixels = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 1, 8, 8) * 20
    for number in range(8):
        save(pixels[number : number + 1], tmp_path / "photos" / ("train", "val")[number // 4] / f"class{number % 2}")
        save(pixels[number : number + 1], tmp_path / "photos" / "train" / f"class{number % 2}" / str(number))
    save(pixels[8:], tmp_path / "more")
    source = image_folder(str(tmp_path / "photos"), in_memory=False)
    joined = with_unlabeled(source, str(tmp_path / "more"))
    assert isinstance(joined.train, Stream)
    count = len(source.train)
    assert torch.equal(joined.train.show(torch.arange(count)), source.train.show(torch.arange(count)))
    assert joined.train.show(torch.arange(count, count + 4))[:, 0, 0, 0].tolist() == [160, 180, 200, 220]
    assert next(iter(joined.train.contents())) != next(iter(source.train.contents()))


def test_what_cannot_be_is_named(tmp_path: Path) -> None:
    source = digits()
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    np.save(tmp_path / "other.npy", np.zeros((5, 8, 8, 3), np.uint8))
    (tmp_path / "text.npy").write_text("none")
    (tmp_path / "broken" / "a.png").write_bytes(b"none")
    for directory, says in (
        ("none", r"data\.unlabeled=.*none: no such place; give a directory"),
        ("other.npy", r"holds uint8 \(5, 8, 8, 3\); must be uint8 \(N, H, W, 1\), as many channels"),
        ("text.npy", "cannot be read as an array"),
        ("empty", "holds no images; known are"),
        ("broken", r"a\.png cannot be read"),
    ):
        with pytest.raises(SettingError, match=says):
            with_unlabeled(source, str(tmp_path / directory))
    with pytest.raises(SettingError, match=r"data\.unlabeled=x: needs images of one class each"):
        with_unlabeled(digit_scenes("masks", 4, 4), "x")


def test_methods_that_ask_for_the_class_are_refused_by_name() -> None:
    check_without_labels(KD(), ["method.kd"])
    for method in (DKD(), CRD()):
        with pytest.raises(SettingError, match=r"method\.it: needs the class of every training image"):
            check_without_labels(Composite({"kd": KD(), "it": method}), ["method.kd", "method.it"])
