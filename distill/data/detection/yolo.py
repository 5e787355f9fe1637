"""YOLO: a text file for each image, with lines of class, middle, width and height as shares of the image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from distill.data.detection.annotated import AnnotatedImage, AnnotationError, Object, Strictness
from distill.data.folders import folders, image_files, split_of
from distill.data.pixels import size_of
from distill.data.source import Part
from distill.errors import SettingError

Read = tuple[Mapping[Part | None, list[AnnotatedImage]], list[str]]


def read_yolo(root: Path, setting: str, strictness: Strictness) -> Read:
    """The images of each split, and the classes that data.yaml or classes.txt names.

    Images lie in images/SPLIT beside labels/SPLIT, or in SPLIT/images beside SPLIT/labels. One without a text file, or
    with an empty one, has no objects.

    Raises:
        SettingError: no names, no images, a line that cannot be read, a box that cannot be.
    """
    names = _names(root, setting)
    places = _places(root)
    if not places:
        raise SettingError(
            f"{setting}: holds no folder images/train beside labels/train, nor train/images, which data.format=yolo "
            "looks for"
        )
    try:
        return {part: _images(*place, names, strictness) for part, place in places.items()}, names
    except AnnotationError as error:
        raise SettingError(f"data: {error}") from None


def _names(root: Path, setting: str) -> list[str]:
    files = [*root.glob("*.yaml"), *root.glob("*.yml")]
    for file in sorted(files):
        try:
            content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SettingError(f"data: {file}: is no YAML that can be read ({str(error).splitlines()[0]})") from None
        found = content.get("names") if isinstance(content, dict) else None
        if isinstance(found, dict):
            return [str(found[key]) for key in sorted(found)]
        if isinstance(found, list):
            return list(map(str, found))
    for name in ("classes.txt", "obj.names"):
        if (listed := root / name).is_file():
            return [line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
    raise SettingError(f"{setting}: has no data.yaml with names, and no classes.txt: one must say what the classes are")


def _places(root: Path) -> dict[Part | None, tuple[Path, Path]]:
    """Folders of images and of labels, by split."""
    found: dict[Part | None, tuple[Path, Path]] = {}
    if (root / "images").is_dir():
        for folder in folders(root / "images"):
            if part := split_of(folder.name):
                found[part] = folder, root / "labels" / folder.name
        return found or {None: (root / "images", root / "labels")}
    for folder in folders(root):
        if (part := split_of(folder.name)) and (folder / "images").is_dir():
            found[part] = folder / "images", folder / "labels"
    return found


def _images(images: Path, labels: Path, names: list[str], strictness: Strictness) -> list[AnnotatedImage]:
    found = []
    for path, is_image in image_files(images):
        if not is_image:
            continue
        text = (labels / Path(path).relative_to(images)).with_suffix(".txt")
        try:
            height, width = size_of(path)
        except Exception as error:  # decoders raise whatever occurs to them
            raise AnnotationError(f"{path}: cannot be read ({error})") from None
        objects = _objects(text, names, height, width) if text.is_file() else []
        kept = strictness.checked(objects, height, width, str(text))
        found.append(AnnotatedImage(path, str(text), height, width, kept))
    return found


def _objects(file: Path, names: list[str], height: int, width: int) -> list[Object]:
    objects = []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, *shares = line.split()
            place, values = int(label), [*map(float, shares)]
            if len(values) != 4:
                raise ValueError(line)
        except ValueError:
            raise AnnotationError(
                f"{file}: line {number} is {line.strip()[:60]!r}; must be a class, and a box's middle, width and height"
            ) from None
        if not 0 <= place < len(names):
            raise AnnotationError(f"{file}: line {number} has class {place}, and there are {len(names)}, from 0")
        x, y, wide, tall = (share * side for share, side in zip(values, (width, height) * 2, strict=True))
        objects.append(Object(names[place], x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2))
    return objects
