"""VOC, COCO and YOLO annotations: the same boxes of all three, and one line for each thing that cannot be."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distill.boxes import Boxes
from distill.data.detection.folder import detection_folder
from distill.errors import SettingError

SIZES = [(80, 60), (60, 80), (64, 64), (40, 40)]  # width, height
OBJECTS = [[("cat", 8, 6, 40, 30), ("dog", 30, 20, 80, 60)], [("dog", 3, 3, 30, 40)], [], [("cat", 0, 0, 40, 40)]]
SPLITS = {"train": [0, 1], "val": [2, 3]}
Writer = Callable[[Path], None]


def pictures(folder: Path, numbers: list[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        width, height = SIZES[number]
        noise = np.random.default_rng(number).integers(256, size=(height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")


def xml(number: int, objects: list[tuple[str, int, int, int, int]], entity: str = "") -> str:
    width, height = SIZES[number]
    inner = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>"
        for name, a, b, c, d in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"{entity}<annotation><filename>{number}.png</filename>{size}{inner}</annotation>"


def voc(root: Path) -> None:
    pictures(root / "JPEGImages", [0, 1, 2, 3])
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for number, objects in enumerate(OBJECTS):
        (root / "Annotations" / f"{number}.xml").write_text(xml(number, objects))
    for part, numbers in SPLITS.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{number}\n" for number in numbers))
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("0\n1\n2\n3\n")


def coco_json(numbers: list[int], ids: dict[str, int]) -> dict:
    images = [{"id": 7 + n, "file_name": f"{n}.png", "width": SIZES[n][0], "height": SIZES[n][1]} for n in numbers]
    boxes = [(n, *box) for n in numbers for box in OBJECTS[n]]
    annotations = [
        {"id": i, "image_id": 7 + n, "category_id": ids[name], "bbox": [a, b, c - a, d - b], "iscrowd": 0}
        for i, (n, name, a, b, c, d) in enumerate(boxes)
    ]
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco(root: Path) -> None:
    """The validation file numbers the classes the other way round."""
    (root / "annotations").mkdir()
    for (part, numbers), ids in zip(SPLITS.items(), ({"cat": 3, "dog": 17}, {"dog": 1, "cat": 2}), strict=True):
        pictures(root / "images" / f"{part}2017", numbers)
        (root / "annotations" / f"instances_{part}2017.json").write_text(json.dumps(coco_json(numbers, ids)))


def yolo(root: Path) -> None:
    (root / "data.yaml").write_text("names: {0: cat, 1: dog}\n")
    for part, numbers in SPLITS.items():
        pictures(root / "images" / part, numbers)
        (root / "labels" / part).mkdir(parents=True)
        for n in numbers:
            (w, h), lines = SIZES[n], []
            for name, a, b, c, d in OBJECTS[n]:
                shares = (a + c) / 2 / w, (b + d) / 2 / h, (c - a) / w, (d - b) / h
                lines.append(" ".join(map(str, (["cat", "dog"].index(name), *shares))))
            if lines:  # an image without objects has no file
                (root / "labels" / part / f"{n}.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("write", [voc, coco, yolo])
def test_boxes_come_out_alike_in_pixels_of_the_fitted_image(write: Writer, tmp_path: Path) -> None:
    write(tmp_path)
    source = detection_folder(str(tmp_path), write.__name__, image_size=40)
    assert list(source.class_names) == ["cat", "dog"]
    for part, numbers in SPLITS.items():
        split = source.parts[part]
        boxes = Boxes.of(split.targets)
        for place, number in enumerate(numbers):
            factor = 40 / max(SIZES[number])
            expected = [[edge * factor for edge in box[1:]] for box in OBJECTS[number]]
            there = boxes.there[place]
            assert np.allclose(boxes.corners[place][there], np.array(expected).reshape(-1, 4), atol=1e-3)
            names = [source.class_names[label] for label in boxes.labels[place][there].tolist()]
            assert names == [box[0] for box in OBJECTS[number]]
            assert boxes.scale[place] == pytest.approx(1 / factor)
    images = source.train.show(torch.tensor([0, 1]))
    assert images.shape == (2, 3, 40, 40)
    assert (images[0, :, 30:] == 0).all()
    assert (images[0, :, :30].float().mean((0, 2)) > 60).all()
    assert (images[1, :, :, 30:] == 0).all()


def test_one_set_is_split_by_a_fraction(tmp_path: Path) -> None:
    voc(tmp_path)
    for file in (tmp_path / "ImageSets" / "Main").iterdir():
        file.unlink()
    with pytest.raises(SettingError, match=r"has no val split.*data\.val_fraction"):
        detection_folder(str(tmp_path))
    source = detection_folder(str(tmp_path), val_fraction=0.4)
    assert {len(source.train), len(source.val)} == {1, 3} or len(source.train) + len(source.val) == 4


def replaced(file: str, old: str, new: str) -> Writer:
    def write(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, 1))

    return write


XML, JSON, TXT = "Annotations/0.xml", "annotations/instances_train2017.json", "labels/train/0.txt"


@pytest.mark.parametrize(
    ("write", "spoil", "said"),
    [
        (voc, replaced(XML, "<xmax>40<", "<xmax>90<"), r"0\.xml: cat box 8, 6, 90, 30 lies outside its image of"),
        (voc, replaced(XML, "<xmax>40<", "<xmax>8<"), r"0\.xml: cat box 8, 6, 8, 30 has no area.*data\.on_error=skip"),
        (voc, replaced(XML, "<xmax>40<", "<xmax>wide<"), r"0\.xml: bndbox/xmax is 'wide'; must be a number"),
        (voc, replaced(XML, "</annotation>", ""), r"0\.xml: is no XML that can be read"),
        (voc, replaced(XML, "<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>'), "0.xml: defines XML ent"),
        (voc, lambda root: (root / "JPEGImages/1.png").unlink(), r"1\.xml: its image 1\.png isn't there"),
        (voc, lambda root: (root / XML).unlink(), r"0\.xml: is listed, and isn't there"),
        (voc, replaced("Annotations/3.xml", "cat", "cow"), r"3\.xml: an object of the class 'cow', which is none"),
        (voc, lambda root: Image.new("RGB", (9, 9)).save(root / "JPEGImages/0.png"), "0.png cannot be read .it is 9 x"),
        (coco, replaced(JSON, "{", "", ), r"instances_train2017\.json: is no JSON that can be read"),
        (coco, replaced(JSON, '"category_id": 3', '"category_id": 4'), "has category_id 4, which it doesn't hold"),
        (coco, replaced(JSON, '"image_id": 7', '"image_id": 99'), r"has image_id 99, which it doesn't hold"),
        (coco, replaced(JSON, '"bbox"', '"box"'), r"is no file of COCO's form \(KeyError: 'bbox'\)"),
        (coco, replaced(JSON, "[8, 6, 32, 24]", "[8, 6, 0, 24]"), r"0\.png: cat box 8, 6, 8, 30 has no area"),
        (yolo, replaced(TXT, "0 ", "5 "), r"0\.txt: line 1 has class 5, and there are 2, from 0"),
        (yolo, replaced(TXT, "0 0.3", "0 1.3"), r"0\.txt: cat box .* lies outside its image of 80 x 60"),
        (yolo, replaced(TXT, "0 0.3", "0 nan"), r"0\.txt: .*"),
        (yolo, replaced(TXT, "0 0.3 ", "0 "), r"0\.txt: line 1 is .*; must be a class, and a box's middle"),
        (yolo, lambda root: (root / "data.yaml").unlink(), r"has no data\.yaml with names, and no classes\.txt"),
        (yolo, lambda root: (root / "data.yaml").write_text("names: [a"), r"data\.yaml: is no YAML that can be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_that_names_the_file(
    write: Writer, spoil: Writer, said: str, tmp_path: Path
) -> None:
    write(tmp_path)
    spoil(tmp_path)
    with pytest.raises(SettingError, match=said) as caught:
        detection_folder(str(tmp_path), write.__name__, image_size=40)
    assert "\n" not in str(caught.value)


def test_boxes_that_cannot_be_are_left_out_if_asked(tmp_path: Path) -> None:
    voc(tmp_path)
    replaced(XML, "<xmax>40<", "<xmax>8<")(tmp_path)
    source = detection_folder(str(tmp_path), classes=["cat", "dog"], on_error="skip")
    assert Boxes.of(source.train.targets).there.sum() == 2
    assert "left out: 1 boxes that cannot be, e.g." in source.notes[0]


def test_the_wrong_format_is_said(tmp_path: Path) -> None:
    voc(tmp_path)
    for name, said in (("coco", "holds no JSON files"), ("yolo", "has no data.yaml")):
        with pytest.raises(SettingError, match=said):
            detection_folder(str(tmp_path), name)
    with pytest.raises(SettingError, match="no such directory"):
        detection_folder(str(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match="format=pascal: must be one of voc, coco, yolo"):
        detection_folder(str(tmp_path), "pascal")
