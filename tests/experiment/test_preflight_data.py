"""What preflight says of the data."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from distill.cli import CONFIGS
from distill.config.run_config import parse
from distill.data import ImageSource, Split
from distill.errors import SettingError
from distill.experiment.pipeline import load
from distill.experiment.preflight.data import data_doubts, data_lines


def source(
    counts: list[int], names: list[str] | None = None, test: int = 0, notes: tuple[str, ...] = ()
) -> ImageSource:
    targets = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.arange(len(targets), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 6)
    split = Split(images, targets)
    later = Split(images[:test], targets[:test]) if test else None
    return ImageSource("mine", split, split, names or [*map(str, range(len(counts)))], test=later, notes=notes)


def said(data: ImageSource) -> list[str]:
    return [": ".join(line) for line in data_lines(data, len(data.train))]


def test_each_class_is_listed_with_its_images_where_they_are_few() -> None:
    assert said(source([3, 2], ["cat", "dog"], test=4, notes=("left out: 3 .txt",))) == [
        "data: mine: 5 training images of 8 x 6 in 2 classes of 2 to 3; 5 for validation, 4 for a test at the end",
        "data: left out: 3 .txt",
        "classes: cat: 3, dog: 2",
    ]
    assert said(source([2, 2], ["cat", "dog"]))[1:] == ["classes: cat: 2, dog: 2"]
    assert said(source([2, 1]))[1:] == ["classes: 0: 2, 1: 1"]
    assert said(source([2, 2]))[1:] == []  # without names and all alike: the first line says it


def test_of_many_classes_the_largest_and_the_smallest_are_listed() -> None:
    names = list("abcdefghijklm")
    assert said(source([5, 9, 7, 8, 5, 5, 5, 5, 5, 5, 4, 1, 3], names))[1:] == [
        "classes: b: 9, d: 8, c: 7, ..., k: 4, m: 3, l: 1"
    ]
    assert said(source([2] * 13, names))[1:] == ["classes: a, b, c, ..., m"]


def test_images_that_are_all_alike_raise_doubt() -> None:
    alike = Split(torch.full((90, 3, 4, 4), 7, dtype=torch.uint8), torch.arange(90) % 2)
    assert [*data_doubts(ImageSource("mine", alike, alike, ["a", "b"]))] == [
        "data: 64 training images that were looked at are all exactly alike, so nothing can be learned from them: "
        "check how they are read"
    ]
    assert [*data_doubts(source([40, 40]))] == []
    assert [*data_doubts(source([1, 1]))] == []


def test_one_class_only_is_refused_before_anything_else(tmp_path: Path) -> None:
    message = r"^data: mine has training images of one class only \(a\): there is nothing to tell apart; give images of"
    for counts, names in (([3], ["a"]), ([3, 0], ["a", "b"])):
        made = source(counts, names)
        with pytest.raises(SettingError, match=message):
            made.task.check_told_apart(made.name, made.train.targets, made.class_names)
    images, labels = np.zeros((4, 8, 8), np.uint8), np.zeros(4, int)
    arrays = {"train_images": images, "train_labels": labels, "val_images": images, "val_labels": labels}
    np.savez(tmp_path / "mine.npz", class_names=["a"], **arrays)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["data=arrays", f"data.path={tmp_path}/mine.npz"])
    with pytest.raises(SettingError, match=message):
        load(parse(config), tmp_path)
