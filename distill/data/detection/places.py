"""Where annotated images lie."""

from collections.abc import Iterable
from pathlib import Path

from distill.data.detection.annotated import AnnotationError
from distill.data.folders import endings


def image_of(folders: Iterable[Path], names: Iterable[str], annotation: str) -> str:
    """The path of an image by its name or its stem, in the first of some folders that has it.

    Raises:
        AnnotationError: none has it.
    """
    known, tried = endings(), [name for name in names if name]
    for folder in folders:
        for name in tried:
            file = folder / name
            if name.lower().endswith(known) and file.is_file():
                return str(file)
            for ending in known:
                for cased in (ending, ending.upper()):
                    if (other := folder / f"{name}{cased}").is_file():
                        return str(other)
    raise AnnotationError(f"{annotation}: its image {tried[-1]} isn't there")
