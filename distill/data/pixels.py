"""Pixels as a viewer shows them: 8 bits a channel, of whatever an image file or an array holds."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
ROUNDING = 1e-3  # by which numbers in [0, 1] may lie outside, as resizing leaves them
ROWS = 1024  # that are converted at a time


class PixelError(ValueError):
    """Numbers that can't be told to be pixels; the message says what they are and what would work."""


def pixels_of(image: Image.Image, channels: int) -> Tensor:
    """(channels, H, W) uint8 of an image; 1 channel is grey, 3 are RGB.

    Turned as its EXIF orientation says, laid on white where it is transparent, 16 bits scaled to 8; of an animation the
    first picture.

    Raises:
        PixelError: whole numbers of more than 16 bits, or floating-point ones outside [0, 1].
    """
    upright = _upright(image)
    shown = _of_8_bits(upright) if upright.mode[0] in "IF" else _opaque(upright)
    pixels = vision.pil_to_tensor(shown.convert("L" if channels == 1 else "RGB"))
    assert isinstance(pixels, Tensor)
    return pixels


def size_of(file: str) -> tuple[int, int]:
    """Height and width of an image file as a viewer shows it, from its header; raises what Pillow does."""
    with Image.open(file) as image:
        width, height = image.size
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5  # by a quarter
    return (width, height) if turned else (height, width)


def is_grey(image: Image.Image) -> bool:
    """Whether an image holds no colour, by its mode."""
    return image.mode in GREY_MODES


def to_bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """uint8 of images (N, ...) in numbers of another type: 16 bits scaled to 8, [0, 1] and booleans to 0 to 255.

    Raises:
        PixelError: whole numbers outside 0 to 255, floating-point ones outside [0, 1].
    """
    if values.dtype == np.uint8:
        return values
    scaled = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), ROWS):  # or it would take several times as much memory
        scaled[start : start + ROWS] = _scaled(np.asarray(values[start : start + ROWS]))
    return scaled


def _scaled(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.dtype.kind not in "iuf":
        raise PixelError(f"values of type {values.dtype}: must be numbers, best uint8")
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    said = f"{values.dtype} from {low:.6g} to {high:.6g}"
    if values.dtype.kind == "f":
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):
            raise PixelError(f"{said}: must be uint8, or numbers in [0, 1] that are not normalised yet")
        values = np.rint(np.clip(values, 0, 1) * 255)
    elif not (low >= 0 and high <= 255):
        raise PixelError(f"{said}: must be uint8, or uint16 where all 16 bits are used")
    return values.astype(np.uint8)


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return image if orientation == 1 else ImageOps.exif_transpose(image)  # which would copy it
    except Exception:  # of damaged EXIF data, which viewers ignore too; a damaged image says so later
        return image


def _of_8_bits(image: Image.Image) -> Image.Image:
    """A grey image of 16 or 32 bits, or of floating-point numbers."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    most, right = (1, "[0, 1]") if image.mode == "F" else (65535, "0 to 65535")
    if not (low >= 0 and high <= most):
        raise PixelError(
            f"mode {image.mode} with values from {low:.6g} to {high:.6g}: must lie in {right}, "
            "or be saved with 8 bits a channel"
        )
    return Image.fromarray(_scaled(values if image.mode == "F" else values.astype(np.uint16)))


def _opaque(image: Image.Image) -> Image.Image:
    """An image on white, where it has transparent parts."""
    if image.mode not in ALPHA_MODES and "transparency" not in image.info:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
