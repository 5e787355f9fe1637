"""COCO: a JSON file for each split, with images, categories, and boxes as left, top, width and height."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from distill.data.detection.annotated import AnnotatedImage, AnnotationError, Object, Strictness
from distill.data.detection.places import image_of
from distill.data.folders import folders, split_of
from distill.data.source import Part
from distill.errors import SettingError

Read = tuple[Mapping[Part | None, list[AnnotatedImage]], list[str]]
"""The images of each split, under None where the one file is of no split, and the names of the classes."""


def read_coco(root: Path, setting: str, strictness: Strictness) -> Read:
    """The images of each split, and the classes in the order of the training file's ids; splits are matched by names.

    Raises:
        SettingError: no JSON files, one that cannot be read or refers to what it doesn't hold, a box that cannot be.
    """
    files = _files(root)
    if not files:
        raise SettingError(
            f"{setting}: holds no JSON files; data.format=coco looks for annotations/instances_train.json and "
            "annotations/instances_val.json, or train/_annotations.coco.json"
        )
    parts: dict[Part | None, list[AnnotatedImage]] = {}
    names: list[str] = []
    for part, file in files.items():
        try:
            one = _File(file, part, root)
            parts[part], found = one.images(strictness), list(one.names.values())
        except AnnotationError as error:
            raise SettingError(f"data: {error}") from None
        names = names or found
    return parts, names


def _files(root: Path) -> dict[Part | None, Path]:
    """The training file first."""
    found: dict[Part | None, Path] = {}
    for pattern in ("annotations/*.json", "*/*.json", "*.json"):
        for file in sorted(root.glob(pattern)):
            own_folder = file.parent not in (root, root / "annotations")
            found.setdefault(split_of(file.stem) or (split_of(file.parent.name) if own_folder else None), file)
    if len(found) > 1:
        found.pop(None, None)
    order: list[Part | None] = ["train", "val", "test", None]
    return {part: found[part] for part in order if part in found}


@dataclass
class _File:
    """One JSON file, of a split below a root."""

    file: Path
    part: Part | None
    root: Path

    @cached_property
    def content(self) -> dict[str, Any]:
        """What it holds."""
        try:
            content = json.loads(self.file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise AnnotationError(f"{self.file}: is no JSON that can be read ({error})") from None
        if not isinstance(content, dict):
            raise AnnotationError(f"{self.file}: is no file of COCO's form, but a {type(content).__name__}")
        return content

    @cached_property
    def names(self) -> dict[int, str]:
        """Of the classes, by their numbers, in the order of these."""
        with self._as_coco_has_it():
            return {int(one["id"]): str(one["name"]) for one in sorted(self.content["categories"], key=_number)}

    def images(self, strictness: Strictness) -> list[AnnotatedImage]:
        """With their boxes."""
        with self._as_coco_has_it():
            images = {int(image["id"]): image for image in self.content["images"]}
            objects: dict[int, list[Object]] = {number: [] for number in images}
            for annotation in self.content.get("annotations", []):
                objects[self._known(annotation, "image_id", images)].append(self._object(annotation))
            return [self._image(image, objects[number], strictness) for number, image in images.items()]

    @contextmanager
    def _as_coco_has_it(self) -> Iterator[None]:
        try:
            yield
        except AnnotationError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            kind = type(error).__name__
            raise AnnotationError(f"{self.file}: is no file of COCO's form ({kind}: {error})") from None

    def _known(self, annotation: dict[str, Any], key: str, known: Mapping[int, Any]) -> int:
        value = int(annotation[key])
        if value not in known:
            which = annotation.get("id", "")
            raise AnnotationError(f"{self.file}: annotation {which} has {key} {value}, which it doesn't hold")
        return value

    def _object(self, annotation: dict[str, Any]) -> Object:
        name = self.names[self._known(annotation, "category_id", self.names)]
        left, top, width, height = map(float, annotation["bbox"])
        return Object(name, left, top, left + width, top + height, bool(annotation.get("iscrowd", 0)))

    def _image(self, image: dict[str, Any], objects: list[Object], strictness: Strictness) -> AnnotatedImage:
        name, height, width = str(image["file_name"]), int(image["height"]), int(image["width"])
        path = image_of(self._places, [name], str(self.file))
        kept = strictness.checked(objects, height, width, f"{self.file}: {name}")
        return AnnotatedImage(path, str(self.file), height, width, kept)

    @cached_property
    def _places(self) -> list[Path]:
        """Where the split's images may lie."""
        outer = [folder for folder in (self.root, self.root / "images") if folder.is_dir()]
        inner = [below for folder in outer for below in folders(folder)]
        own = [folder for folder in inner if self.part is not None and split_of(folder.name) == self.part]
        return [self.file.parent, *own, self.root / "images", self.root]


def _number(category: dict[str, Any]) -> int:
    return int(category["id"])
