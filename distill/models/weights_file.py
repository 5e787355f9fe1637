"""Files of weights: safetensors out; safetensors, state dicts and Lightning checkpoints in.

Reading never runs code that a file brings with it.
"""

import argparse
import difflib
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from distill.errors import SettingError
from distill.files import path_of, write_atomically
from distill.models.matching import plain

# Where weights and checkpoints of a run say how images were prepared: one entry, for safetensors writes several in an
# order of chance, and the same run shall give the same file.
ABOUT = "distill"

# What published checkpoints keep beside their weights: command lines and accuracies. Making these runs no code.
_NUMPY_SCALAR: Any = np.float64(0).__reduce__()[0]
_HARMLESS: list[Any] = [
    argparse.Namespace,
    _NUMPY_SCALAR,
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # its name before NumPy 2
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float32", "float64", "int64")),
]


class CheckpointError(SettingError):
    """A file of weights that cannot be written or read, or is not of this network; the message names it."""


def save_weights(module: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write all parameters and persistent buffers of `module` as safetensors, whole or not at all.

    Tied tensors are written out each; the wrapper of torch.compile leaves no trace in the names.

    Raises:
        CheckpointError: the module holds something that is not a tensor, or the file cannot be written.
    """
    path = Path(path)
    state = module.state_dict()
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        raise CheckpointError(f"{path}: safetensors holds tensors only, and {strange[0]} of the network is none")
    # Each a copy of its own: the format refuses shared and strided memory.
    tensors = {plain(name): torch.clone(t.detach().cpu(), memory_format=torch.contiguous_format)
               for name, t in state.items()}  # fmt: skip
    about = dict(metadata or {})
    try:
        write_atomically(path, lambda temporary: safetensors.torch.save_file(tensors, temporary, metadata=about))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: could not be written: {error}") from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return what save_weights was given beside the weights.

    Raises:
        CheckpointError: the file is missing, damaged or not safetensors.
    """
    path = _existing(Path(path))
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return _unpacked(file.metadata() or {})
    except SafetensorError as error:
        raise _damaged(path, error) from error


@dataclass(frozen=True, slots=True)
class Weights:
    """What a file holds, read once.

    tensors: every tensor under its dotted name; nested dictionaries are parts of the name.
    about: what was saved beside them, by `save_weights` or in a checkpoint of a run.
    under: where in the file to look, from FILE#PREFIX; None: everywhere.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    about: Mapping[str, str]
    under: str | None = None


def read_weights(path: str | Path) -> Weights:
    """Read a file: safetensors, or what torch.save made of a state dict. FILE#PREFIX names a place in it.

    Raises:
        CheckpointError: the file is missing, damaged, would run code, or holds no weights.
    """
    if "://" in str(path):
        raise CheckpointError(f"{path}: is an address, and nothing is downloaded; save the file and give its path")
    file, under = _chosen_place(str(path))
    file = _existing(file)
    if file.suffix == ".safetensors":
        about = read_metadata(file)
        try:
            tensors = {plain(name): tensor for name, tensor in safetensors.torch.load_file(file).items()}
        except SafetensorError as error:
            raise _damaged(file, error) from error
    else:
        content = _unpickle(file)
        kept = content.get(ABOUT) if isinstance(content, Mapping) else None
        about = _unpacked({ABOUT: kept}) if isinstance(kept, str) else {}
        tensors = {}
        _collect(content, "", tensors)
    if not tensors:
        raise CheckpointError(f"{file}: holds no weights; must be safetensors or what torch.save made of a state dict")
    return Weights(file, tensors, about, under)


def _unpacked(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata with what a run says in one entry, in JSON, among the others."""
    about = dict(metadata)
    try:
        packed = json.loads(about.pop(ABOUT, "{}"))
    except json.JSONDecodeError:
        packed = {}
    return about | ({str(name): str(value) for name, value in packed.items()} if isinstance(packed, dict) else {})


def _chosen_place(path: str) -> tuple[Path, str | None]:
    """FILE#PREFIX as its two parts; a file whose own name has a # in it is meant itself."""
    file, sign, place = path.rpartition("#")
    if not sign or path_of(path).exists():
        return path_of(path), None
    return path_of(file), plain(f"{place}.").removesuffix(".")


def _existing(path: Path) -> Path:
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; name the file of weights in it")
    if not path.is_file():
        beside = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, beside, n=1)
        elsewhere = "nothing of a like name beside it" if path.parent.is_dir() else "its folder does not exist either"
        hint = f"; did you mean {close[0]}?" if close else f"; {elsewhere}"
        raise CheckpointError(f"{path}: no such file{hint}")
    return path


def _collect(value: Any, prefix: str, found: dict[str, Tensor]) -> None:
    for key, item in value.items() if isinstance(value, Mapping) else ():
        if isinstance(key, str) and isinstance(item, Tensor):
            found[plain(f"{prefix}{key}")] = item
        elif isinstance(key, str):
            _collect(item, f"{prefix}{key}.", found)


def false_claim(path: Path) -> str | None:
    """What is wrong with a file of torch.save that would take more memory than it has content, which PyTorch never
    writes: its parts are not compressed. None where nothing is."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        claimed, has = sum(part.file_size for part in archive.infolist()), path.stat().st_size
    return f"it claims {claimed} bytes of content and has {has}" if claimed > has else None


def _unpickle(path: Path) -> Any:
    try:
        if claim := false_claim(path):
            raise _damaged(path, claim)
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the loader says of old protocols and archives is said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _is_pickle(path):
            raise _damaged(path, "it is nothing that torch.save wrote") from error
        named = re.search(r"(?:GLOBAL|function) (\S+)", str(error))
        raise CheckpointError(
            f"{path}: refused, for it holds more than weights and would have to run code"
            f"{f' ({named.group(1)})' if named else ''}; load it where you trust it and save only the weights: "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle makes the loader raise anything
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{path}: is a TorchScript program, not weights; save them with torch.save(program.state_dict(), FILE)"
            ) from error
        raise _damaged(path, error) from error


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == b"\x80" or zipfile.is_zipfile(path)


def _damaged(path: Path, reason: object) -> CheckpointError:
    why = str(reason).split(". ")[0] or "it ends too early"
    return CheckpointError(
        f"{path}: cannot be read ({why}); it is damaged, cut off, or not a file of weights: copy or download it again"
    )
