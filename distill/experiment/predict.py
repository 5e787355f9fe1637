"""What a finished run's student says of image files."""

import os
import pickle
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from distill.config import build
from distill.config.settings import PredictionSettings, TrainerSettings, node, read
from distill.data import stream
from distill.data.arrays import Rows
from distill.data.folders import endings, image_files, left_out
from distill.data.image_folder import ImageFiles
from distill.data.source import ImageSource
from distill.data.stream import Readable, Stream
from distill.devices import allow_tf32
from distill.errors import SettingError
from distill.experiment.finished import NetworkRecord, load_run
from distill.experiment.network_predictions import Predictions, predict_split
from distill.experiment.predictions import table_of, write_table
from distill.log import only_warnings

ARRAYS = (".npy", ".npz")
TOP = 5  # classes that are named for each image


def predict_files(config: DictConfig) -> Path | None:
    """Write a CSV file with a line for each image: its name, the likeliest classes, or why it could not be read.

    Args:
        config: what configs/predict.yaml composes.

    Returns:
        The file; None where the lines were printed.

    Raises:
        SettingError: no such run or input, or not one image of it can be read.
    """
    only_warnings()
    settings = read(config, "", PredictionSettings)
    finished = load_run(Path(settings.run))
    allow_tf32(finished.tf32)
    precision = finished.precision if settings.precision == "run" else settings.precision
    hardware = build.hardware(node(config.trainer, "trainer", TrainerSettings), precision)
    images = _stream(_images(Path(settings.input), finished.student), finished.student)
    source = ImageSource.of("input", {"val": images}, finished.student.classes)
    student = finished.network("student")
    with _told_in_the_table():
        answers = predict_split(student, source, settings.batch_size, hardware.device, hardware.plugin)
    output = None if settings.output is None else Path(settings.output)
    _write(output, answers, images, finished.student.classes)
    unread = len(images) - len(answers.indices)
    if unread == len(images):
        name, reason = next(iter(images.unreadable.items()))
        raise SettingError(f"input={settings.input}: not one of {unread} images can be read, e.g. {name} ({reason})")
    said = f", {unread} could not be read (see the column error)" if unread else ""
    print(
        f"{len(images)} image{'' if len(images) == 1 else 's'}{said}", file=sys.stderr if output is None else sys.stdout
    )
    return output


def _images(place: Path, student: NetworkRecord) -> Readable:
    """Where the images are read from."""
    if place.is_dir():
        found = list(image_files(place))
        files = [path for path, is_image in found if is_image]
        others = Counter(Path(path).suffix.lower() or "without an ending" for path, is_image in found if not is_image)
        for note in left_out(others):
            print(note, file=sys.stderr)
        if not files:
            raise SettingError(f"input={place}: holds no images; known are {', '.join(endings())}")
    elif not place.is_file():
        raise SettingError(f"input={place}: no such file or folder; give an image file, or a folder of images")
    elif place.suffix.lower() in ARRAYS:
        return _array(place, student.images.channels)
    else:
        files = [str(place)]
    return ImageFiles(np.array([os.fsencode(file) for file in files]), _unknown(len(files)), student.images.channels)


def _array(file: Path, channels: int) -> Rows:
    """Images (N, H, W) or (N, H, W, C), or one (H, W) or (H, W, C)."""
    try:
        with file.open("rb") as opened:
            content = np.load(opened, allow_pickle=False)
            arrays = {name: content[name] for name in content.files} if file.suffix == ".npz" else {"": content}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise SettingError(f"input={file}: cannot be read as arrays ({error})") from None
    images = {name: array for name, array in arrays.items() if array.ndim >= 2}
    if len(images) != 1:
        raise SettingError(
            f"input={file}: holds {len(images)} arrays of images ({', '.join(images)}); must hold one: write it alone "
            "with numpy.save"
        )
    array = next(iter(images.values()))
    if array.ndim == 2 or (array.ndim == 3 and channels > 1 and array.shape[2] == channels):
        array = array[None]
    array = array[..., None] if array.ndim == 3 else array
    return Rows(array, _unknown(len(array)), file.name)


def _unknown(count: int) -> torch.Tensor:
    """(N,) int64: classes that nobody looks at."""
    return torch.zeros(count, dtype=torch.long)


def _stream(images: Readable, student: NetworkRecord) -> Stream:
    """Images as the validation split has them."""
    format_ = student.images
    return Stream(images, format_.shape, format_.resize or min(format_.height, format_.width), skip=True)


@contextmanager
def _told_in_the_table() -> Iterator[None]:
    """Images that can't be read are not told one by one as well."""
    stream.log.disabled = True
    try:
        yield
    finally:
        stream.log.disabled = False


def _write(output: Path | None, answers: Predictions, images: Stream, classes: list[str]) -> None:
    count = min(TOP, len(classes))
    shares, best = answers.logits.softmax(1).topk(count)
    found = {
        index: [cell for i in range(count) for cell in (classes[named[i]], f"{share[i]:.6f}")]
        for index, named, share in zip(answers.indices.tolist(), best.tolist(), shares.tolist(), strict=True)
    }
    columns = ["file", "class", "probability"]
    columns += [f"{name}{i}" for i in range(2, count + 1) for name in ("class", "probability")]
    nothing = [""] * (2 * count)
    rows = []
    for index in range(len(images)):
        name = images.name(index)
        rows.append([name, *found.get(index, nothing), "" if index in found else images.unreadable[name]])
    if output is None:
        print(table_of([*columns, "error"], rows), end="")
    else:
        write_table(output, [*columns, "error"], rows)
