"""Checkpoints on disk: written whole, checked before they are read, and the one before is kept."""

import io
import logging
import zipfile
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from distill.files import FULL, write_atomically
from distill.models.weights_file import false_claim

log = logging.getLogger(__name__)


class CheckpointFiles(TorchCheckpointIO):
    """Writes Lightning's checkpoints. A full disk doesn't end training: the checkpoint before stays, and that is said.

    Beside `last.ckpt` the one before lies as `last.previous.ckpt`.
    """

    def __init__(self) -> None:
        self._full = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint to `path`."""
        file, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        try:
            write_atomically(file, lambda temporary: temporary.write_bytes(content.getbuffer()), keep=previous(file))
        except OSError as error:
            if error.errno not in FULL:
                raise
            if not self._full:
                log.warning(f"{file}: was not written ({error.strerror}); training goes on, and tries again")
            self._full = True
        else:
            self._full = False


def previous(checkpoint: Path) -> Path:
    """Where the checkpoint is kept that another replaced."""
    return checkpoint.with_name(f"{checkpoint.stem}.previous{checkpoint.suffix}")


def newest_whole(checkpoint: Path) -> Path | None:
    """The file to go on from: the checkpoint, the one before where it is damaged or gone, or None."""
    for file in (checkpoint, previous(checkpoint)):
        if not file.is_file():
            continue
        found = damage(file)
        if found is None:
            return file
        log.warning(f"{file}: is damaged ({found}) and not used; what went before it is")
    return None


def step_of(checkpoint: Path) -> int:
    """After how many steps of the optimizer it was written."""
    return int(torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["global_step"])


def damage(file: Path) -> str | None:
    """What is wrong with a checkpoint, read to its end; None where nothing is.

    PyTorch writes zip archives, which hold a checksum of each of their parts, and doesn't check them when it reads.
    """
    try:
        if claim := false_claim(file):
            return claim
        with zipfile.ZipFile(file) as archive:
            part = archive.testzip()
        if part is not None:
            return f"checksum of {part}"
        torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # a flipped bit may be anywhere in the format
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no content'}"
    return None
