"""Safe reading and writing of weights: safetensors out; safetensors, state dicts and Lightning checkpoints in.

Reading never runs code that a file brings with it.
"""

import argparse
import difflib
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
from distill.files import write_atomically
from distill.matching import best_fits, complaint, plain, some

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


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What of a file went into a network.

    matched: names of the network's tensors that the file filled.
    missing: those that it did not have, and that need not be there: counters, and tensors tied to a matched one.
    unexpected: what the file has under the prefix and the network has no place for, such as an auxiliary head.
    prefix: what stands before the network's names in the file, nesting included: "state_dict.student.".
    """

    path: Path
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    prefix: str

    def summary(self) -> str:
        """Say it in one line."""
        parts = [f"{self.path}: {len(self.matched)} tensors loaded"]
        if self.prefix:
            parts.append(f"found under {self.prefix!r}")
        if self.missing:
            parts.append(f"{len(self.missing)} not in the file and not needed")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} in the file ignored ({some(self.unexpected)})")
        return ", ".join(parts)


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
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise _damaged(path, error) from error


def load_weights(module: nn.Module, path: str | Path) -> LoadReport:
    """Fill `module` with the weights of a file: safetensors, or what torch.save made of a state dict.

    The state dict may lie inside dictionaries (a Lightning checkpoint, {"model": ...}), and its names may begin with a
    prefix ("student.backbone.", "module.", "_orig_mod."): the place whose names and shapes fit best is taken. Either
    every tensor of the network is filled or the network is left as it was.

    Raises:
        CheckpointError: the file is missing, damaged, would run code, or does not fit the network.
    """
    if "://" in str(path):
        raise CheckpointError(f"{path}: is an address, and nothing is downloaded; save the file and give its path")
    path = _existing(Path(path))
    state = module.state_dict(keep_vars=True)
    names = {plain(name): name for name, value in state.items() if isinstance(value, Tensor)}
    wanted = {short: state[name] for short, name in names.items()}
    tensors = _read(path)
    if not tensors:
        raise CheckpointError(f"{path}: holds no weights; must be safetensors or what torch.save made of a state dict")
    fits = best_fits(wanted, tensors)
    problem = complaint(wanted, fits)
    if problem:
        raise CheckpointError(f"{path}: {problem}")
    fit = fits[0]
    module.load_state_dict({names[short]: fit.tensors[short] for short in fit.matched}, strict=False)
    return LoadReport(path, fit.matched, fit.spared, fit.unexpected, fit.prefix)


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


def _read(path: Path) -> dict[str, Tensor]:
    """Return every tensor of the file under its dotted name; nested dictionaries become parts of the name."""
    if path.suffix == ".safetensors":
        try:
            return {plain(name): tensor for name, tensor in safetensors.torch.load_file(path).items()}
        except SafetensorError as error:
            raise _damaged(path, error) from error
    found: dict[str, Tensor] = {}
    _collect(_unpickle(path), "", found)
    return found


def _collect(value: Any, prefix: str, found: dict[str, Tensor]) -> None:
    for key, item in value.items() if isinstance(value, Mapping) else ():
        if isinstance(key, str) and isinstance(item, Tensor):
            found[plain(f"{prefix}{key}")] = item
        elif isinstance(key, str):
            _collect(item, f"{prefix}{key}.", found)


def _unpickle(path: Path) -> Any:
    try:
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
