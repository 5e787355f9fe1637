"""How the values of each layer lie: a map, a map with the channels last, tokens of a grid, or a vector."""

from collections.abc import Sequence

from distill.types import FeatureLayout

EXTRA_TOKENS = 8  # class, distillation and register tokens that a vision transformer puts before its grid, at most

Shape = tuple[int, ...]


def feature_layouts(shapes: Sequence[Shape], image: tuple[int, int] | None) -> list[FeatureLayout]:
    """The layout of each layer's output.

    A map has the image's aspect ratio in two neighbouring dimensions. The grid of tokens (T, D) is that of the last map
    of D channels before them, as the patches' convolution gives it: so tokens before the grid are known, not guessed.

    Args:
        shapes: of the layers' outputs without the batch dimension, in the order in which they ran.
        image: height and width of what the network was shown; None where that is unknown, which is taken for a square.
    """
    clear = [_fits(s[:2], image) and not _fits(s[1:], image) for s in shapes if len(s) == 3]
    found: list[FeatureLayout] = []
    grids: list[tuple[int, tuple[int, int]]] = []  # channels and size of the maps so far
    for shape in shapes:
        layout = _layout(shape, image, grids, channels_last=any(clear))
        found.append(layout)
        if layout.kind in ("map", "channels-last map"):
            channels, height, width = shape if layout.kind == "map" else (shape[2], *shape[:2])
            grids.append((channels, (height, width)))
    return found


def _layout(
    shape: Shape, image: tuple[int, int] | None, grids: Sequence[tuple[int, tuple[int, int]]], *, channels_last: bool
) -> FeatureLayout:
    if len(shape) == 3:
        first, last = _fits(shape[1:], image), _fits(shape[:2], image)
        return FeatureLayout("channels-last map" if last and (channels_last or not first) else "map")
    if len(shape) == 2:
        count, channels = shape
        known = [grid for wide, grid in grids if wide == channels and 0 <= count - grid[0] * grid[1] <= EXTRA_TOKENS]
        return FeatureLayout("tokens", known[-1] if known else None)
    return FeatureLayout("vector")


def _fits(size: Shape, image: tuple[int, int] | None) -> bool:
    """Whether a height and a width may be those of a map of the image: no larger, and of its aspect ratio."""
    height, width = size
    if image is None or image[0] == image[1]:
        return height == width and (image is None or height <= image[0])
    return height <= image[0] and width <= image[1] and abs(height * image[1] - width * image[0]) <= max(image)
