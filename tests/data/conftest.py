"""Small sets of images on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Writes a directory of classes: `folder("train", {"cat": 3, "dog": 2}, size=(40, 30))`; sizes None: all differ."""

    def write(name: str, classes: dict[str, int], size: tuple[int, int] | None = None, mode: str = "RGB") -> Path:
        rng = np.random.default_rng(len(name))
        for label, count in classes.items():
            directory = tmp_path / name / label
            directory.mkdir(parents=True)
            for number in range(count):
                width, height = size or (30 + 7 * number % 20, 34 + 5 * number % 23)
                pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).convert(mode).save(directory / f"{number:03d}.png")
        return tmp_path

    return write
