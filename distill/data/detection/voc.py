"""Pascal VOC: Annotations/STEM.xml beside JPEGImages/STEM.jpg, and lists of stems in ImageSets/Main."""

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from distill.data.detection.annotated import AnnotatedImage, AnnotationError, Object, Strictness
from distill.data.detection.places import image_of
from distill.data.folders import split_of
from distill.data.source import Part
from distill.errors import SettingError

EDGES = ("xmin", "ymin", "xmax", "ymax")


def read_voc(root: Path, setting: str, strictness: Strictness) -> Mapping[Part | None, list[AnnotatedImage]]:
    """The images of each split; under None where there are no lists of splits.

    Boxes are taken as they stand, xmin to xmax as the left and right edge, as labelling tools write them.

    Raises:
        SettingError: no annotations, an XML file that cannot be read, a box that cannot be.
    """
    annotations = root / "Annotations"
    if not annotations.is_dir():
        raise SettingError(f"{setting}: holds no folder Annotations, which data.format=voc looks for")
    lists = {split_of(file.stem): file for file in sorted((root / "ImageSets" / "Main").glob("*.txt"))}
    lists.pop(None, None)
    if not lists:
        stems: dict[Part | None, list[str]] = {None: sorted(file.stem for file in annotations.glob("*.xml"))}
    else:
        stems = {part: _stems(file) for part, file in lists.items()}
    return {
        part: [_read(annotations / f"{stem}.xml", root, strictness) for stem in found] for part, found in stems.items()
    }


def _stems(file: Path) -> list[str]:
    """Of a list with a stem at the beginning of each line."""
    return [line.split()[0] for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _read(file: Path, root: Path, strictness: Strictness) -> AnnotatedImage:
    try:
        return _parsed(file, root, strictness)
    except AnnotationError as error:
        raise SettingError(f"data: {error}") from None


def _parsed(file: Path, root: Path, strictness: Strictness) -> AnnotatedImage:
    tree = _tree(file)
    name = tree.findtext("filename") or ""
    image = image_of([root / "JPEGImages", root / "images", file.parent], [file.stem, name], str(file))
    height, width = (int(_number(tree, f"size/{side}", file)) for side in ("height", "width"))
    objects = []
    for node in tree.iter("object"):
        label = (node.findtext("name") or "").strip()
        if not label:
            raise AnnotationError(f"{file}: an object without a name")
        left, top, right, bottom = (_number(node, f"bndbox/{edge}", file) for edge in EDGES)
        objects.append(Object(label, left, top, right, bottom))
    return AnnotatedImage(image, str(file), height, width, strictness.checked(objects, height, width, str(file)))


def _tree(file: Path) -> ElementTree.Element:
    """The file's tree. Entities, which could grow without end or read other files, are refused."""

    def refuse(*_: object) -> None:
        raise AnnotationError(f"{file}: defines XML entities, which annotations have no need of; take them out")

    guard = expat.ParserCreate()
    guard.EntityDeclHandler = refuse
    try:
        content = file.read_bytes()
        guard.Parse(content, True)
        return ElementTree.fromstring(content)
    except FileNotFoundError:
        raise AnnotationError(f"{file}: is listed, and isn't there") from None
    except AnnotationError:
        raise
    except (ElementTree.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        raise AnnotationError(f"{file}: is no XML that can be read ({error})") from None


def _number(node: ElementTree.Element, path: str, file: Path) -> float:
    text = node.findtext(path)
    try:
        return float(text or "")
    except ValueError:
        raise AnnotationError(f"{file}: {path} is {text!r}; must be a number") from None
