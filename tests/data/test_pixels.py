"""Pixels as a viewer shows them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, features

from distill.data.image_folder import ImageFiles, image_folder
from distill.data.pixels import PixelError, is_grey, pixels_of, to_bytes
from distill.errors import SettingError

RAMP = np.linspace(0, 1, 32)[None].repeat(24, 0)
BYTES = np.rint(RAMP * 255)


def stored(pixels: npt.NDArray[Any], kind: str = "PNG", **settings: Any) -> Image.Image:
    return again(Image.fromarray(pixels), kind, **settings)


def again(image: Image.Image, kind: str = "PNG", **settings: Any) -> Image.Image:
    """Written to a file and opened again."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return Image.open(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("pixels", "kind", "mode"),
    [
        ((RAMP * 65535).astype(np.uint16), "PNG", None),  # I;16 or I, depending on the version of Pillow
        ((RAMP * 65535).astype(np.uint16), "TIFF", "I;16"),
        ((RAMP * 65535).astype(np.uint16), "PPM", "I"),
        ((RAMP * 65535).astype(np.int32), "TIFF", "I"),
        (RAMP.astype(np.float32), "TIFF", "F"),
    ],
)
def test_numbers_of_other_widths_are_scaled(
    pixels: npt.NDArray[Any], kind: str, mode: str | None, channels: int
) -> None:
    image = stored(pixels, kind)
    assert mode in (None, image.mode)
    assert is_grey(image)
    found = pixels_of(image, channels)
    assert found.shape == (channels, 24, 32)
    assert np.abs(found.numpy() - BYTES).max() <= 1


def test_colour_of_16_bits(tmp_path: Path) -> None:
    """Whose high bytes Pillow takes, which differ from the nearest by one at most."""
    header = b"P6 32 24 65535\n"
    values = (RAMP[..., None].repeat(3, 2) * 65535).astype(">u2")
    values[..., 1] = 0
    (tmp_path / "a.ppm").write_bytes(header + values.tobytes())
    with Image.open(tmp_path / "a.ppm") as image:
        found = pixels_of(image, 3).numpy()
    assert np.abs(found[0] - BYTES).max() <= 1
    assert not found[1].any()


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            (RAMP * 255).astype(np.float32),
            r"mode F with values from 0 to 255: must lie in \[0, 1\], or be saved with 8",
        ),
        ((RAMP - 0.5).astype(np.float32), r"mode F with values from -0.5 to 0.5: must lie in \[0, 1\]"),
        (np.full((4, 4), np.nan, np.float32), "mode F with values from nan to nan"),
        ((RAMP * 70000).astype(np.int32), "mode I with values from 0 to 70000: must lie in 0 to 65535, or be saved"),
        ((RAMP * 9 - 1).astype(np.int32), "mode I with values from -1 to 8"),
    ],
)
def test_numbers_that_could_mean_anything_are_refused(pixels: npt.NDArray[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(PixelError, match=f"^{message}"):
        pixels_of(stored(pixels, "TIFF"), 3)
    for label in "ab":
        (tmp_path / label).mkdir()
        Image.fromarray(pixels).save(tmp_path / label / "0.tif")
        Image.fromarray(pixels).save(tmp_path / label / "1.tif")
    with pytest.raises(SettingError, match=rf"^data: .*{tmp_path}/a/[01].tif cannot be read \({message}"):
        image_folder(str(tmp_path), val_fraction=0.5)


KINDS = ["PNG", "TIFF", "WEBP", "JPEG", *(["AVIF"] if features.check("avif") else [])]  # type: ignore[no-untyped-call]
LYING = {
    1: lambda shown: shown,
    2: np.fliplr,
    3: lambda shown: np.rot90(shown, 2),
    4: np.flipud,
    5: lambda shown: shown.T,
    6: lambda shown: np.rot90(shown),
    7: lambda shown: np.rot90(shown, 2).T,
    8: lambda shown: np.rot90(shown, 3),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_as_their_orientation_says(kind: str, orientation: int) -> None:
    shown = np.zeros((24, 40), np.uint8)
    shown[:12], shown[:, :5] = 220, 90
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = np.ascontiguousarray(LYING[orientation](shown))
    settings: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    found = pixels_of(stored(lying, kind, exif=exif, **settings), 1)[0].numpy()
    assert found.shape == shown.shape
    assert np.abs(found.astype(int) - shown).max() <= (25 if kind in ("JPEG", "AVIF") else 0)
    if kind in ("PNG", "TIFF"):
        wide = stored(lying.astype(np.uint16) * 257, kind, exif=exif)
        assert np.array_equal(pixels_of(wide, 1)[0].numpy(), shown)


def test_damaged_exif_data_are_as_none() -> None:
    image = stored(BYTES.astype(np.uint8), "PNG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\xff\x01")
    assert pixels_of(image, 1).shape == (1, 24, 32)


def shape_in_alpha(mode: str) -> Image.Image:
    """Black, and to be seen in its right half alone."""
    image = Image.new("RGBA", (8, 4), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (4, 0, 8, 4))
    if mode != "P":
        return again(image.convert(mode))
    paletted = Image.new("P", (8, 4), 0)
    paletted.putpalette([0, 0, 0, 0, 0, 0])
    paletted.paste(1, (4, 0, 8, 4))
    return again(paletted, transparency=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str, channels: int) -> None:
    image = shape_in_alpha(mode)
    assert image.mode == mode
    found = pixels_of(image, channels)
    assert found[:, :, :4].unique().tolist() == [255]
    assert found[:, :, 4:].unique().tolist() == [0]


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (9, 9, 9)), ("L", 9)])
def test_a_colour_that_stands_for_transparent_is_white(mode: str, colour: Any) -> None:
    assert pixels_of(again(Image.new(mode, (4, 4), colour), transparency=colour), 3).unique().tolist() == [255]


def test_half_transparent_is_half_white() -> None:
    assert pixels_of(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), 1).unique().tolist() == [127]


def test_other_modes() -> None:
    assert pixels_of(again(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF"), 3)[:, 0, 0].tolist() == [255, 0, 0]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert pixels_of(again(palette), 3)[:, 0, 0].tolist() == [10, 20, 30]
    assert pixels_of(again(Image.new("1", (4, 4), 1)), 1).unique().tolist() == [255]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_picture_is_taken(kind: str) -> None:
    frames = [Image.new("L", (4, 4), level) for level in (30, 200)]
    image = again(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    assert pixels_of(image, 1).unique().tolist() == [30]


def test_many_images_are_converted_alike() -> None:
    values = np.random.default_rng(0).random((2500, 3))
    assert np.array_equal(to_bytes(values), np.rint(values * 255))
    assert to_bytes(np.zeros((0, 3))).shape == (0, 3)


def test_files_are_read_so(tmp_path: Path) -> None:
    shape_in_alpha("RGBA").save(tmp_path / "a.png")
    files = ImageFiles(np.array([str(tmp_path / "a.png").encode()]), torch.tensor([0]), 3)
    assert files.read(0).unique().tolist() == [0, 255]
