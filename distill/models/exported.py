"""A program saved by torch.export as a network: a teacher whose Python code is not at hand."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from distill.errors import SettingError
from distill.models.preprocessing import Preprocessing, attach_preprocessing

ABOUT = "preprocess.json"  # inside the archive, where this project exported it: such a program normalises for itself


def exported(*, path: str) -> nn.Module:
    """Load the .pt2 program at `path`, which maps normalised images (N, C, H, W) to logits, as a frozen network.

    It answers as it was exported: in evaluation mode where it was exported so, which a teacher should be. Where the
    program takes one image size or number of channels only, or was exported by this project and normalises for itself,
    preprocessing_of(the result) says so.

    Such a file can hold pickled Python objects, which PyTorch's loader runs: use only files that you trust.

    Raises:
        SettingError: the file is missing, is no such program, or takes something else than batches of images.
    """
    program, about = _load(path)
    images = _signature(path, program)
    batch, channels, height, width = images
    if isinstance(batch, int):
        raise SettingError(
            f"path={path!r}: takes batches of {batch} only; export it with dynamic_shapes={{...: {{0: Dim.DYNAMIC}}}} "
            "and an example batch of 2 or more"
        )
    module = FrozenProgram(program)
    size = height if isinstance(height, int) and height == width else None
    takes = channels if isinstance(channels, int) else None
    known = Preprocessing(size=size, trained=True, channels=takes, classes=tuple(about.get("classes", ())) or None)
    if about and takes:
        known = replace(known, mean=(0.0,) * takes, std=(1.0,) * takes)
    return attach_preprocessing(module, known)


class FrozenProgram(nn.Module):
    """An exported program that takes part in train() and eval() without changing: it has one mode, the one saved."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        self.program = program.module()
        self.requires_grad_(False)
        self.training = False

    def train(self, mode: bool = True) -> "FrozenProgram":
        """Do nothing: the graph module inside refuses both modes."""
        return self

    def forward(self, images: Tensor) -> Any:
        """Map (N, C, H, W) to whatever the program gives, logits (N, num_classes) at best."""
        return self.program(images)


def _load(path: str) -> tuple[ExportedProgram, dict[str, Any]]:
    """The program, and what this project's own export says of the images that it takes."""
    if not Path(path).is_file():
        raise SettingError(f"path={path!r}: no such file; must be a program saved by torch.export.save")
    if not zipfile.is_zipfile(path):
        raise SettingError(f"path={path!r}: is damaged or no program of torch.export (a .pt2 file is a zip archive)")
    try:
        said = {ABOUT: ""}
        program = torch.export.load(path, extra_files=said)
        return program, json.loads(said[ABOUT] or "{}")
    except Exception as error:  # the loader raises whatever its many parts raise
        raise SettingError(
            f"path={path!r}: could not be read as a program of torch.export ({type(error).__name__}: {error}); save it "
            f"with torch.export.save under a PyTorch no newer than {torch.__version__}"
        ) from error


def _signature(path: str, program: ExportedProgram) -> list[Any]:
    """Return the shape of the images, with symbols where it is dynamic."""
    values: dict[Any, Any] = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [values.get(name) for name in program.graph_signature.user_inputs]
    shapes = [list(value.shape) for value in inputs if isinstance(value, Tensor)]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise SettingError(f"path={path!r}: takes inputs of shapes {shapes}; must take one of (N, C, H, W)")
    return shapes[0]
