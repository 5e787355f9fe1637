"""Which folders are splits, which are classes, and which files are images."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, features

from distill.data.folders import endings
from distill.data.image_folder import image_folder
from distill.errors import SettingError


def tree(root: Path, *files: str) -> Path:
    """Images of 8 x 8, each in a grey of its own; other files hold nothing."""
    for number, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.lower().endswith((".png", ".gif", ".jfif", ".avif", ".webp", ".jpe", ".tga")):
            kind = {".jfif": "JPEG", ".jpe": "JPEG"}.get(Path(name).suffix)
            Image.new("L", (8, 8), number).save(root / name, kind)
        else:
            (root / name).touch()
    return root


def split(name: str, classes: str = "ab", count: int = 1) -> list[str]:
    return [f"{name}/{label}/{number}.png" for label in classes for number in range(count)]


TRIPLES = [
    ("train", "val", "test"),
    ("Training", "Validation", "Testing"),
    ("TRAIN", "VALID", "TEST"),
    ("seg_train", "seg_dev", "seg_test"),
    ("train_set", "val_set", "test_set"),
    ("TrainSet", "valset", "TestImages"),
    ("imagenette2-train", "imagenette2-val", "imagenette2-test"),
    ("train2017", "val2017", "test2017"),
    ("training set", "eval", "test data"),
]


@pytest.mark.parametrize(("train", "val", "test"), TRIPLES)
def test_splits_are_known_by_their_usual_names(tmp_path: Path, train: str, val: str, test: str) -> None:
    root = tree(tmp_path, *split(train, count=3), *split(val, count=2), *split(test))
    data = image_folder(str(root))
    assert data.test is not None
    assert [len(part) for part in (data.train, data.val, data.test)] == [6, 4, 2]
    assert data.class_names == ["a", "b"]
    (root / val).rename(root / "moved")
    (root / "moved" / "a" / "0.png").rename(tmp_path / "kept.png")
    pair = image_folder(str(root))
    assert (len(pair.train), len(pair.val), pair.test) == (6, 2, None)  # the test folder validates where no other does
    assert pair.notes == ["left alone beside the split folders: moved"]


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    root = tree(tmp_path, *split(".", classes=["bus", "train", "tram"], count=4))  # type: ignore[arg-type]
    assert image_folder(str(root), val_fraction=0.5).class_names == ["bus", "train", "tram"]


def test_a_fraction_of_the_training_folder_leaves_the_test_folder_to_the_end(tmp_path: Path) -> None:
    root = tree(tmp_path, *split("train", count=4), *split("test"))
    data = image_folder(str(root), val_fraction=0.5)
    assert data.test is not None
    assert [len(part) for part in (data.train, data.val, data.test)] == [4, 4, 2]


def test_a_test_split_may_lack_classes_and_is_left_alone_where_it_has_others(tmp_path: Path) -> None:
    root = tree(tmp_path, *split("train"), *split("val"), *split("test", "b"))
    data = image_folder(str(root))
    assert data.test is not None
    assert data.test.targets.tolist() == [1]
    data = image_folder(str(tree(root, *split("test", "x"))))
    assert data.test is None
    assert data.notes == [f"{root / 'test'} is not scored: other classes, e.g. x"]


def test_test_images_without_classes_are_left_alone(tmp_path: Path) -> None:
    """As in competitions."""
    root = tree(tmp_path, *split("train"), *split("valid"), "test/0.png", "test/1.png")
    data = image_folder(str(root))
    assert data.test is None
    assert data.notes == ["left alone beside the split folders: test"]


@pytest.mark.parametrize("outer", ["dataset", "a set/inner"])
def test_classes_are_found_below_a_single_folder(tmp_path: Path, outer: str) -> None:
    root = tree(tmp_path, *split(outer, "abc", count=4))
    data = image_folder(str(root), val_fraction=0.25)
    assert data.class_names == ["a", "b", "c"]
    assert data.notes == [f"{root} holds but one folder; taken is {root / outer}"]


def test_splits_are_found_below_single_folders(tmp_path: Path) -> None:
    root = tree(tmp_path, *split("archive/seg_train/seg_train"), *split("archive/seg_test/seg_test"))
    data = image_folder(str(root))
    assert data.class_names == ["a", "b"]
    assert f"{root}/archive/seg_train holds but one folder; taken is {root}/archive/seg_train/seg_train" in data.notes


def test_images_deeper_in_their_class(tmp_path: Path) -> None:
    root = tree(tmp_path, "cat/sub/0.png", "cat/1.png", "dog/sub/0.png", "dog/sub/deeper/1.png")
    data = image_folder(str(root), val_fraction=0.5)
    assert data.class_names == ["cat", "dog"]
    assert (data.train.targets.tolist(), data.val.targets.tolist()) == ([0, 1], [0, 1])
    root = tree(tmp_path / "breeds", "cat/persian/0.png", "cat/siam/1.png", "dog/collie/0.png", "dog/pug/1.png")
    assert image_folder(str(root), val_fraction=0.5).class_names == ["cat", "dog"]


def test_folders_of_the_same_folders_are_no_classes_and_the_advice_works(tmp_path: Path) -> None:
    root = tree(tmp_path / "k", *split("first", "abc", count=2), *split("second", "abc", count=2))
    with pytest.raises(SettingError) as caught:
        image_folder(str(root), val_fraction=0.5)
    assert str(caught.value) == (
        f"data.root={root}: first, second hold no images of their own but the same folders (a, b, c): if those are "
        f"the classes, rename the outer folders to train and val, or choose one, data.root={root}/first; else put the "
        "images of each class right into its folder"
    )
    assert image_folder(f"{root}/first", val_fraction=0.5).class_names == ["a", "b", "c"]
    (root / "first").rename(root / "train")
    (root / "second").rename(root / "val")
    assert image_folder(str(root)).class_names == ["a", "b", "c"]


def test_a_split_beside_classes_is_refused_and_the_advice_works(tmp_path: Path) -> None:
    root = tree(tmp_path, *split(".", "ab", count=2), *split("test"))
    for fraction in (None, 0.5):
        with pytest.raises(SettingError) as caught:
            image_folder(str(root), val_fraction=fraction)
        assert str(caught.value) == (
            f"data.root={root}: {root}/test looks like a split, beside folders such as a; put the training classes "
            f"into {root}/train"
        )
    (root / "train").mkdir()
    for label in "ab":
        (root / label).rename(root / "train" / label)
    assert len(image_folder(str(root)).train) == 4
    tree(tmp_path / "alone", *split("val"), *split("test"))
    with pytest.raises(SettingError, match=r"test looks like a split; put the training classes into .*alone/train$"):
        image_folder(str(tmp_path / "alone"), val_fraction=0.5)


def test_splits_without_folders_of_classes_are_refused(tmp_path: Path) -> None:
    root = tree(tmp_path, "train/0.png", "test/0.png")
    with pytest.raises(SettingError, match=r"test, train in .* hold images themselves; put those into"):
        image_folder(str(root), val_fraction=0.5)


def test_folders_that_could_each_be_a_split(tmp_path: Path) -> None:
    root = tree(tmp_path, *split("my_train"), *split("train_b"), *split("val"))
    with pytest.raises(SettingError, match="my_train, train_b could each be the train split; rename the right one to "):
        image_folder(str(root))
    (root / "my_train").rename(root / "train")
    assert len(image_folder(str(root)).train) == 2


def test_hidden_files_and_folders_are_left_out_at_any_depth(tmp_path: Path) -> None:
    hidden = (
        ".ipynb_checkpoints/0-checkpoint.png",
        "@eaDir/0.png",
        "sub/.x/0.png",
        "._0.png",
        ".DS_Store",
        "Thumbs.db",
    )
    files = [f"{part}/a/{name}" for part in ("train", "val") for name in hidden]
    root = tree(tmp_path, *split("train"), *split("val"), *files, "__MACOSX/train/a/0.png", ".git/x/0.png")
    tree(root, "train/.ipynb_checkpoints/0.png", "train/@eaDir/0.png")
    data = image_folder(str(root))
    assert data.class_names == ["a", "b"]
    assert (len(data.train), len(data.val), data.notes) == (2, 2, [])


def test_the_usual_endings_are_taken_and_others_told(tmp_path: Path) -> None:
    taken = ["1.gif", "2.jfif", "3.jpe", "4.webp", "5.tga", "6.PNG"]
    taken += ["7.avif"] if features.check("avif") else []  # type: ignore[no-untyped-call]
    left = ["a.mov", "b.MOV", "c.txt", "README"]
    root = tree(tmp_path, *split("train"), *split("val"), *(f"train/a/{name}" for name in [*taken, *left]))
    data = image_folder(str(root), in_memory=True)
    assert len(data.train) == 2 + len(taken)
    assert data.notes == ["left out, as no images that can be read here: 2 .mov, 1 .txt, 1 without an ending"]
    assert not {".pdf", ".h5", ".mpeg", ".eps"} & {*endings()}
    for number in range(20):
        (root / "val" / "b" / f"file.x{number}").touch()
    assert image_folder(str(root)).notes[0].endswith(", ...")


def test_what_lies_there_is_told_where_no_images_do(tmp_path: Path) -> None:
    root = tree(tmp_path, "train/a/0.heix", "train/b/1.heix")
    with pytest.raises(SettingError, match=r"train holds no images; there are .heix; known are .jpg, .jpeg"):
        image_folder(str(root), val_fraction=0.5)


@pytest.mark.parametrize(("only", "count"), [("any", 6), ("val", 6), ("train", 6), ("test", 6)])
def test_a_folder_of_classes_is_wanted_whole(tmp_path: Path, only: Any, count: int) -> None:
    data = image_folder(str(tree(tmp_path, *split(".", "ab", count=3))), only=only)
    assert len(data.val) == count


def test_one_split_alone_is_wanted(tmp_path: Path) -> None:
    root = tree(tmp_path, *split("train", "ab", count=3), *split("test", "a"))
    assert [len(image_folder(str(root), only=only).val) for only in ("any", "train", "test")] == [1, 6, 1]  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"split=val: data.root=.* has no such split, but train, test"):
        image_folder(str(root), only="val")
    assert len(image_folder(str(root), only="val", val_fraction=0.34).val) == 2


def test_a_root_that_is_a_class_is_told_and_the_advice_works(tmp_path: Path) -> None:
    root = tree(tmp_path / "k", *split(".", "ab", count=2))
    with pytest.raises(
        SettingError, match=rf"{root}/a holds no folders; .* one for each class, so perhaps data.root={root}$"
    ):
        image_folder(f"{root}/a", val_fraction=0.5)
    assert image_folder(str(root), val_fraction=0.5).class_names == ["a", "b"]


def test_images_beside_the_class_folders_are_told(tmp_path: Path) -> None:
    root = tree(tmp_path, *split("train"), *split("val"), "train/0.png", "train/1.png", "0.png")
    data = image_folder(str(root))
    assert (len(data.train), len(data.val)) == (2, 2)
    assert data.notes == [f"left alone, as of no class: 2 images right in {root}/train"]


def test_a_class_called_like_a_split_may_hold_folders(tmp_path: Path) -> None:
    root = tree(tmp_path, *split(".", ["bus", "train"], count=2), "train/more/0.png")  # type: ignore[arg-type]
    data = image_folder(str(root), val_fraction=0.5)
    assert (data.class_names, len(data.train) + len(data.val)) == (["bus", "train"], 5)
