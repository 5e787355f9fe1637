"""What every annotation of boxes comes to: an image's file, its size, and the objects in it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from distill.errors import SettingError

ROUNDING = 1.0  # pixels by which a box may reach beyond its image, as rounding leaves it; cut off


@dataclass(frozen=True, slots=True)
class Object:
    """A box: its class, its edges in pixels of the file, and whether it holds a crowd that nobody told apart."""

    name: str
    left: float
    top: float
    right: float
    bottom: float
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image and the objects in it.

    file: path of the image. source: what its objects were read from, for messages. height, width: in pixels.
    """

    file: str
    source: str
    height: int
    width: int
    objects: Sequence[Object] = field(default_factory=list)


class AnnotationError(ValueError):
    """What is wrong with an annotation, in a line that names its file."""


@dataclass(slots=True)
class Strictness:
    """What becomes of boxes that cannot be.

    skip: whether they are left out, instead of ending the run.
    left_out: what was wrong with those that were.
    """

    skip: bool = False
    left_out: list[str] = field(default_factory=list)

    def checked(self, objects: Iterable[Object], height: int, width: int, source: str) -> list[Object]:
        """The boxes that lie in their image and have an area, cut off at its edges.

        Raises:
            SettingError: one does not, unless such are left out.
        """
        kept = []
        for box in objects:
            if fault := _fault(box, height, width):
                message = f"{source}: {box.name} box {_edges(box)} {fault}"
                if not self.skip:
                    raise SettingError(f"data: {message}; mend it, or leave such boxes out with data.on_error=skip")
                self.left_out.append(message)
                continue
            left, top = max(0.0, box.left), max(0.0, box.top)
            kept.append(Object(box.name, left, top, min(width, box.right), min(height, box.bottom), box.crowd))
        return kept


def _fault(box: Object, height: int, width: int) -> str | None:
    edges = (box.left, box.top, box.right, box.bottom)
    if not all(edge == edge and abs(edge) != float("inf") for edge in edges):
        return "is no box of numbers"
    if not (box.left < box.right and box.top < box.bottom):
        return "has no area"
    if min(box.left, box.top) < -ROUNDING or box.right > width + ROUNDING or box.bottom > height + ROUNDING:
        return f"lies outside its image of {width} x {height}"
    return None


def _edges(box: Object) -> str:
    return ", ".join(f"{edge:g}" for edge in (box.left, box.top, box.right, box.bottom))
