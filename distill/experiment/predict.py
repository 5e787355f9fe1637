"""What a finished run's student says of image files, or of texts."""

import csv
import os
import pickle
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from distill.config import build
from distill.config.nodes import node, read
from distill.config.settings import PredictionSettings, TrainerSettings
from distill.data import stream
from distill.data.arrays import Rows
from distill.data.folders import endings, image_files, left_out
from distill.data.image_folder import ImageFiles
from distill.data.image_format import ImageFormat
from distill.data.npz import check_claims
from distill.data.pixels import size_of
from distill.data.source import ImageSource, Source
from distill.data.stream import Readable, Stream, fitting
from distill.data.token_format import TokenFormat
from distill.devices import allow_tf32
from distill.errors import SettingError
from distill.experiment.finished import FinishedRun, NetworkRecord, load_run
from distill.experiment.network_predictions import Predictions, predict_split
from distill.experiment.text_input import text_input
from distill.files import write_atomically
from distill.log import only_warnings

ARRAYS = (".npy", ".npz")


def predict_files(config: DictConfig) -> Path | None:
    """Write a CSV file with a line for each image or text: its name, the likeliest classes, or why it can't be read.

    Args:
        config: what configs/predict.yaml composes.

    Returns:
        The file; None where the lines were printed.

    Raises:
        SettingError: no such run or input, not one image of it can be read, or a text that cannot.
    """
    only_warnings()
    settings = read(config, "", PredictionSettings)
    finished = load_run(Path(settings.run), config.trust)
    allow_tf32(finished.tf32)
    precision = finished.precision if settings.precision == "run" else settings.precision
    hardware = build.hardware(node(config.trainer, "trainer", TrainerSettings), precision)
    source = _source(Path(settings.input), finished)
    student = finished.network("student")
    asked = predict_split({"student": student}, source, settings.batch_size, hardware.device, hardware.plugin)
    rows = _rows(asked, source)
    output = None if settings.output is None else Path(settings.output)
    columns = ["file", *source.task.named_columns(source.class_names), "error"]
    if output is None:
        unread = _write(sys.stdout, columns, rows)
    else:
        counted: list[int] = []
        write_atomically(output, lambda path: counted.append(_write_file(path, columns, rows)))
        unread = counted[0]
    count = len(source.val)
    if unread == count:
        name, reason = next(iter(_unreadable(source).items()))
        raise SettingError(f"input={settings.input}: not one of {unread} images can be read, e.g. {name} ({reason})")
    said = f", {unread} could not be read (see the column error)" if unread else ""
    noun = source.noun.removesuffix("s") if count == 1 else source.noun
    print(f"{count} {noun}{said}", file=sys.stderr if output is None else sys.stdout)
    return output


def _source(place: Path, finished: FinishedRun) -> Source:
    """The images or texts, as the run's networks take them."""
    known = finished.student
    if isinstance(known.format, TokenFormat):
        return text_input(place, finished, known.format)
    images = _stream(_images(place, finished), known)
    return ImageSource.of("input", {"val": images}, known.classes, task=finished.task, letterbox=images.letterbox)


def _unreadable(source: Source) -> dict[str, str]:
    """Why images could not be read, by name; texts that cannot are refused before."""
    return source.val.unreadable if isinstance(source.val, Stream) else {}


def _images(place: Path, finished: FinishedRun) -> Readable:
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
        return _array(place, finished)
    else:
        files = [str(place)]
    names = np.array([os.fsencode(file) for file in files])
    blank = finished.task.blank_of(_scales(files, finished.student.images), len(finished.student.classes))
    return ImageFiles(names, blank, finished.student.images.channels)


def _scales(files: Sequence[str], known: ImageFormat) -> Tensor:
    """(N,) pixels of each file for one as it is shown, where it is shown whole; 1 where it can't be read."""
    scales = torch.ones(len(files))
    for place, file in enumerate(files if known.letterbox else ()):
        with suppress(Exception):  # of a broken file, which is told of later
            scales[place] = 1 / fitting(size_of(file), known.height, known.width)
    return scales


def _array(file: Path, finished: FinishedRun) -> Rows:
    """Images (N, H, W) or (N, H, W, C), or one (H, W) or (H, W, C)."""
    try:
        with file.open("rb") as opened:
            content = np.load(opened, allow_pickle=False)
            if file.suffix == ".npz":
                check_claims(file)
            arrays = {name: content[name] for name in content.files} if file.suffix == ".npz" else {"": content}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise SettingError(f"input={file}: cannot be read as arrays ({error})") from None
    images = {name: array for name, array in arrays.items() if array.ndim >= 2}
    if len(images) != 1:
        raise SettingError(
            f"input={file}: holds {len(images)} arrays of images ({', '.join(images)}); must hold one: write it alone "
            "with numpy.save"
        )
    array, channels = next(iter(images.values())), finished.student.images.channels
    if array.ndim == 2 or (array.ndim == 3 and channels > 1 and array.shape[2] == channels):
        array = array[None]
    array = array[..., None] if array.ndim == 3 else array
    height, width = array.shape[1:3]
    known = finished.student.images
    scale = 1 / fitting((height, width), known.height, known.width) if known.letterbox else 1.0
    blank = finished.task.blank_of(torch.full((len(array),), scale), len(finished.student.classes))
    return Rows(array, blank, file.name)


def _stream(images: Readable, student: NetworkRecord) -> Stream:
    """Images as the validation split has them."""
    format_ = student.images
    resize = format_.resize or min(format_.height, format_.width)
    return Stream(images, format_.shape, resize, skip=True, letterbox=format_.letterbox)


@contextmanager
def _told_in_the_table() -> Iterator[None]:
    """Images that can't be read are not told one by one as well."""
    stream.log.disabled = True
    try:
        yield
    finally:
        stream.log.disabled = False


def _rows(asked: Iterator[Predictions], source: Source) -> Iterator[list[str]]:
    """A line for each sample, in order, as soon as it is known: its name, the answer, and why it could not be read."""
    empty = [""] * len(source.task.named_columns(source.class_names))
    following = 0
    with _told_in_the_table():
        for batch in asked:
            answers = source.task.in_the_file(batch.logits["student"], batch.targets)
            cells = source.task.named(answers, source.class_names)
            for index, row in zip(batch.indices.tolist(), cells, strict=True):
                yield from (_unread(source, left_out, empty) for left_out in range(following, index))
                yield [source.val.name(index), *row, ""]
                following = index + 1
    yield from (_unread(source, left_out, empty) for left_out in range(following, len(source.val)))


def _unread(source: Source, index: int, empty: list[str]) -> list[str]:
    name = source.val.name(index)
    return [name, *empty, _unreadable(source)[name]]


def _write_file(path: Path, columns: list[str], rows: Iterator[list[str]]) -> int:
    with path.open("w", encoding="utf-8", newline="") as opened:
        return _write(opened, columns, rows)


def _write(opened: IO[str], columns: list[str], rows: Iterator[list[str]]) -> int:
    """Write a CSV file; how many of its images could not be read."""
    writer, unread = csv.writer(opened, lineterminator="\n"), 0
    writer.writerow(columns)
    for row in rows:
        writer.writerow(row)
        unread += row[-1] != ""
    return unread
