"""The student alone, for use without this package."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from distill.config.checking import check_value
from distill.data.image_format import ImageFormat
from distill.errors import SettingError, first_line
from distill.experiment.export_hf import export_hf
from distill.experiment.file_to_input import WRITTEN_BY, in_words, input_steps
from distill.experiment.finished import load_run
from distill.files import write_atomically, write_text
from distill.log import only_warnings
from distill.losses.logits import gap
from distill.models.cost import latencies
from distill.models.network import Network
from distill.models.preprocessing import from_metadata, to_metadata
from distill.models.weights_file import ABOUT, read_metadata, save_weights

log = logging.getLogger(__name__)

Format = Literal["onnx", "pt2", "safetensors", "hf"]
Program = Callable[[Tensor], Tensor]
"""An exported student: (N, C, H, W) images to logits."""
MOST_NAMES = 20
PREDICT = Path(__file__).parent / "templates" / "predict.py"
TOLERANCE = 1e-4
"""Largest difference of logits, relative to their size, between the exported student and the original."""


class Logits(nn.Module):
    """A network with its normalisation: images in [0, 1] in, plain logits out."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 in [0, 1] to (N, classes)."""
        logits: Tensor = self.network(images).logits
        return logits


def export_run(config: DictConfig) -> Path:
    """Write a finished run's student in another format, and check that it answers as the original does.

    onnx and pt2 take (N, C, H, W) float32 images in [0, 1], any N, and normalise for themselves; safetensors holds the
    weights under the names of the network's own modules. Each carries, in JSON, the
    steps of `distill.experiment.file_to_input.input_steps`: in its metadata, and in preprocess.json beside it. Beside
    an onnx file lies predict.py too, which takes these steps from a file on.

    hf writes a directory for `transformers`, see `distill.experiment.export_hf`.

    Raises:
        SettingError: no such run or format, a package that is missing, a network that can't be converted, or answers
            that differ.
    """
    only_warnings()
    check_value("format", config.format, Format)
    finished = load_run(Path(config.run), config.trust)
    if config.format == "hf":
        target = finished.directory / "student-hf" if config.output is None else Path(config.output)
        return export_hf(finished.network("student"), finished.student, target)
    own = finished.directory / f"student.{config.format}"
    target = own if config.output is None else Path(config.output)
    if not isinstance(finished.student.format, ImageFormat):
        raise SettingError(
            f"format={config.format}: is for networks of images, and {finished.student.name} takes "
            f"{finished.student.format.kind}: choose format=hf"
        )
    student = Logits(finished.network("student")).eval()
    way = input_steps(finished.student)
    if config.format == "safetensors":
        about = {**_in_json(way), **_of_the_run(finished.directory / "student.safetensors")}
        save_weights(student.network.backbone, target, about)
    else:
        _convert(student, way, config.format, target)
    for line in in_words(way, inside=config.format != "safetensors"):
        print(line)
    shape = ", ".join(map(str, finished.student.images.shape))
    print(f"takes (N, {shape}) float32 images in [0, 1]; gives a logit for each of: {_listed(way['classes'])}")
    _write_beside(target.with_name("preprocess.json"), json.dumps(way, indent=2) + "\n")
    if config.format == "onnx":
        _write_beside(
            target.with_name("predict.py"),
            PREDICT.read_text().replace("student.onnx", target.name) + finished.task.script,
        )
    print(target)
    return target


def _convert(student: Logits, way: dict[str, Any], kind: str, target: Path) -> None:
    """Write a program, and compare its answers and its speed with the original's."""
    channels, height, width = way["channels"], way["crop"]["height"], way["crop"]["width"]
    images = torch.rand(8, channels, height, width, generator=torch.Generator().manual_seed(0))
    write, read = (_write_onnx, _read_onnx) if kind == "onnx" else (_write_pt2, _read_pt2)
    write_atomically(target, lambda path: write(student, way, images, path))
    program = read(target)
    with torch.no_grad():
        expected = student(images)
    difference = float(gap(program(images)[None], expected[None]))
    if not difference <= TOLERANCE:
        target.unlink()
        raise SettingError(f"format={kind}: the export's logits differ by {difference:.2g} of their size")
    said = f"differ by at most {difference:.1g} of their size" if difference else "are the same"
    print(f"parity: logits {said} on {len(images)} images")
    found = latencies({kind: program, "original": student}, images[:1])
    each = (f"{name} {time.median:.3g} ms ({time.low:.3g} to {time.high:.3g})" for name, time in found.items())
    print(f"latency of one image: {', '.join(each)}; threads of the CPU: {torch.get_num_threads()}")


def _write_beside(path: Path, text: str) -> None:
    """Write a file that goes with the export, unless a file of somebody else's has its name."""
    if path.is_file() and WRITTEN_BY not in path.read_text(errors="replace"):
        log.warning("%s: is there already, not written by %s, and stays", path, WRITTEN_BY)
        return
    write_text(path, text)
    print(path)


def _of_the_run(weights: Path) -> dict[str, str]:
    """What the run's own file says of its weights, so that the export is as good a checkpoint."""
    about = read_metadata(weights)
    known = from_metadata(about)
    return {} if known is None else {ABOUT: json.dumps({"name": about.get("name", ""), **to_metadata(known)})}


def _in_json(way: dict[str, Any]) -> dict[str, str]:
    return {key: json.dumps(value) for key, value in way.items()}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MOST_NAMES else f"{', '.join(names[:3])}, ... ({len(names)} classes)"


def _write_pt2(student: Logits, way: dict[str, Any], images: Tensor, path: Path) -> None:
    with warnings.catch_warnings():  # of weights that share memory, which matters where they are not on the CPU
        warnings.filterwarnings("ignore", message="No complete tensor found in the group")
        program = _program("pt2", student, images)
        torch.export.save(program, path, extra_files={"preprocess.json": json.dumps(way)})


def _program(kind: str, student: Logits, images: Tensor) -> torch.export.ExportedProgram:
    try:
        return torch.export.export(student, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    except Exception as error:  # of whatever a network does that can't be traced
        raise _not_converted(kind, student, error) from error


def _not_converted(kind: str, student: Logits, error: Exception) -> SettingError:
    return SettingError(
        f"format={kind}: {student.network.name} cannot be converted ({first_line(error)}); "
        "format=safetensors keeps its weights"
    )


def _read_pt2(path: Path) -> Program:
    program = torch.export.load(path).module()
    return lambda images: program(images).detach()


def _write_onnx(student: Logits, way: dict[str, Any], images: Tensor, path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _needed(package)
    program = _program("onnx", student, images)
    try:
        with _quiet():
            converted = torch.onnx.export(
                program, input_names=["images"], output_names=["logits"], dynamic_shapes=({0: "batch"},), dynamo=True,
                verbose=False,
            )  # fmt: skip
    except Exception as error:  # of an operation that ONNX lacks
        raise _not_converted("onnx", student, error) from error
    assert converted is not None
    converted.model.metadata_props.update(_in_json(way))
    converted.save(str(path), external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what converters say of their own progress from the terminal."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _read_onnx(path: Path) -> Program:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def _needed(package: str) -> None:
    try:
        __import__(package)
    except ImportError:
        raise SettingError(f"format=onnx needs the package {package}: pip install 'distill[export]'") from None
