"""A program saved by torch.export as a network: a teacher whose Python code is not at hand."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from distill.errors import SettingError
from distill.models.preprocessing import Preprocessing, attach_preprocessing


def exported(*, path: str, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Load the .pt2 program at `path`, which maps normalised images (N, C, H, W) to logits, as a frozen network.

    It answers as it was exported: in evaluation mode where it was exported so, which a teacher should be. Where the
    program takes one image size only, preprocessing_of(the result) says which.

    Such a file can hold pickled Python objects, which PyTorch's loader runs: use only files that you trust.

    Raises:
        SettingError: the file is missing, is no such program, or takes or gives other shapes than the data has.
    """
    program = _load(path)
    images, logits = _signature(path, program)
    batch, channels, height, width = images
    if isinstance(batch, int):
        raise SettingError(
            f"path={path!r}: takes batches of {batch} only; export it with dynamic_shapes={{...: {{0: Dim.DYNAMIC}}}} "
            "and an example batch of 2 or more"
        )
    if isinstance(channels, int) and channels != in_channels:
        raise SettingError(f"path={path!r}: takes {channels} channels, the data has in_channels={in_channels}")
    if logits is not None and isinstance(logits[1], int) and logits[1] != num_classes:
        raise SettingError(f"path={path!r}: knows {logits[1]} classes, the data has num_classes={num_classes}")
    module = FrozenProgram(program)
    size = height if isinstance(height, int) and height == width else None
    return attach_preprocessing(module, Preprocessing(size=size, trained=True))


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


def _load(path: str) -> ExportedProgram:
    if not Path(path).is_file():
        raise SettingError(f"path={path!r}: no such file; must be a program saved by torch.export.save")
    if not zipfile.is_zipfile(path):
        raise SettingError(f"path={path!r}: is damaged or no program of torch.export (a .pt2 file is a zip archive)")
    try:
        return torch.export.load(path)
    except Exception as error:  # the loader raises whatever its many parts raise
        raise SettingError(
            f"path={path!r}: could not be read as a program of torch.export ({type(error).__name__}: {error}); save it "
            f"with torch.export.save under a PyTorch no newer than {torch.__version__}"
        ) from error


def _signature(path: str, program: ExportedProgram) -> tuple[list[Any], list[Any] | None]:
    """Return the shapes of the images and, where the program gives one tensor, of the logits; symbols where dynamic."""
    values: dict[Any, Any] = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [values.get(name) for name in program.graph_signature.user_inputs]
    shapes = [list(value.shape) for value in inputs if isinstance(value, Tensor)]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise SettingError(f"path={path!r}: takes inputs of shapes {shapes}; must take one of (N, C, H, W)")
    outputs = [values.get(name) for name in program.graph_signature.user_outputs]
    logits = outputs[0] if len(outputs) == 1 else None
    return shapes[0], list(logits.shape) if isinstance(logits, Tensor) and logits.ndim >= 2 else None
