"""The student alone, for use without this package."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from distill.checking import check_value
from distill.checkpoint import save_weights
from distill.errors import SettingError
from distill.files import write_atomically
from distill.finished import load_run
from distill.log import only_warnings
from distill.models.network import Network

Format = Literal["onnx", "pt2", "safetensors"]
MOST_NAMES = 20
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
    weights under the names of the network's own modules, and as metadata, in JSON, how to normalise, channels and size
    of an image, and the names of the classes.

    Raises:
        SettingError: no such run or format, a package that is missing, or answers that differ.
    """
    only_warnings()
    check_value("format", config.format, Format)
    directory = Path(config.run)
    finished = load_run(directory)
    student = Logits(finished.network("student")).eval()
    target = Path(config.output or directory / f"student.{config.format}")
    classes = finished.student.classes
    images = torch.rand(8, *finished.student.images.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = student(images)
    if config.format == "safetensors":
        about = {**_preparation(student.network, images), "classes": classes}
        in_json = {name: json.dumps(value) for name, value in about.items()}
        save_weights(student.network.backbone, target, {"name": student.network.name, **in_json})
        print(f"normalise images in [0, 1] by mean {about['mean']} and standard deviation {about['std']}")
    else:
        write = _write_onnx if config.format == "onnx" else _write_pt2
        write_atomically(target, lambda path: write(student, images, path))
        answered = _ask_onnx(target, images) if config.format == "onnx" else _ask_pt2(target, images)
        difference = float((answered - expected).abs().max() / expected.abs().max())
        if not difference <= TOLERANCE:
            target.unlink()
            raise SettingError(f"format={config.format}: the export's logits differ by {difference:.2g} of their size")
        said = f"differ by at most {difference:.1g} of their size" if difference else "are the same"
        print(f"parity: logits {said} on {len(images)} images")
    shape = ", ".join(map(str, images.shape[1:]))
    print(f"takes (N, {shape}) float32 images in [0, 1]; gives a logit for each of: {_listed(classes)}")
    print(target)
    return target


def _preparation(network: Network, images: Tensor) -> dict[str, Any]:
    """What a network does to images before its first layer."""
    mean, std = (
        [default] * images.shape[1] if values is None else [round(value, 6) for value in values.flatten().tolist()]
        for values, default in ((network.prepare.mean, 0.0), (network.prepare.std, 1.0))
    )
    return {"mean": mean, "std": std, "channels": images.shape[1], "size": network.prepare.size or images.shape[2]}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MOST_NAMES else f"{', '.join(names[:3])}, ... ({len(names)} classes)"


def _write_pt2(student: Logits, images: Tensor, path: Path) -> None:
    with warnings.catch_warnings():  # of weights that share memory, which matters where they are not on the CPU
        warnings.filterwarnings("ignore", message="No complete tensor found in the group")
        torch.export.save(_program(student, images), path)


def _program(student: Logits, images: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(student, (images,), dynamic_shapes=({0: torch.export.Dim("images", min=1)},))


def _ask_pt2(path: Path, images: Tensor) -> Tensor:
    logits: Tensor = torch.export.load(path).module()(images)
    return logits.detach()


def _write_onnx(student: Logits, images: Tensor, path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _needed(package)
    program = torch.onnx.export(
        _program(student, images), input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
    )
    assert program is not None
    program.save(str(path), external_data=False)


def _ask_onnx(path: Path, images: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def _needed(package: str) -> None:
    try:
        __import__(package)
    except ImportError:
        raise SettingError(f"format=onnx needs the package {package}: pip install 'distill[export]'") from None
