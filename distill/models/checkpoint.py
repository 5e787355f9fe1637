"""Safe reading and writing of weights: safetensors out; safetensors, state dicts and Lightning checkpoints in.

Reading never runs code that a file brings with it.
"""

import argparse
import difflib
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from distill.errors import SettingError
from distill.files import path_of, write_atomically
from distill.models.matching import (
    Fit,
    all_fits,
    best_fits,
    channels_there,
    classes_there,
    complaint,
    others_than,
    plain,
    some,
    written,
)

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


class OtherClassesError(CheckpointError):
    """A file whose network fits but for its last layer, which is for `classes` classes."""

    def __init__(self, message: str, classes: int) -> None:
        super().__init__(message)
        self.classes = classes


class OtherChannelsError(CheckpointError):
    """A file whose network fits but for its first layer, which is for images of `channels` channels."""

    def __init__(self, message: str, channels: int) -> None:
        super().__init__(message)
        self.channels = channels


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What of a file went into a network.

    matched: names of the network's tensors that the file filled.
    missing: those that it did not have, and that need not be there: counters, and tensors tied to a matched one.
    unexpected: what the file has under the prefix and the network has no place for, such as an auxiliary head.
    prefix: what stands before the network's names in the file, nesting included: "state_dict.student.".
    others: where else in the file another network lies that fits as well, such as "model_ema".
    """

    path: Path
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    prefix: str
    others: tuple[str, ...] = ()

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

    def choice(self) -> str | None:
        """Say in one line that there was a choice; None where there was none."""
        if not self.others:
            return None
        taken, places = written(self.prefix), ", ".join(f"{self.path}#{other}" for other in self.others)
        return (
            f"{self.path}: took {repr(taken) if taken else 'what lies at its top'}; another network fits too: {places}"
        )


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


def load_weights(module: nn.Module, weights: str | Path | Weights, anew: Collection[str] = ()) -> LoadReport:
    """Fill `module` with the weights of a file: safetensors, or what torch.save made of a state dict.

    The state dict may lie inside dictionaries (a Lightning checkpoint, {"model": ...}), and its names may begin with a
    prefix ("student.backbone.", "module.", "_orig_mod."): the place whose names and shapes fit best is taken, of those
    under PREFIX where FILE#PREFIX is given. Either every tensor of the network is filled or the network is left as it
    was.

    Args:
        module: any network.
        weights: a file, or what was read of it.
        anew: names of the network's tensors that stay as they are, whatever the file has for them.

    Raises:
        CheckpointError: the file is missing, damaged, would run code, or does not fit the network.
        OtherClassesError, OtherChannelsError: it fits but for the number of these.
    """
    read = weights if isinstance(weights, Weights) else read_weights(weights)
    state = module.state_dict(keep_vars=True)
    names = {plain(name): name for name, value in state.items() if isinstance(value, Tensor) and name not in anew}
    wanted = {short: state[name] for short, name in names.items()}
    kept = {plain(name) for name in anew}
    fits = best_fits(wanted, read.tensors, read.under)
    everywhere = all_fits(wanted, read.tensors)
    if not fits or (read.under is not None and complaint(wanted, fits) and everywhere):
        places = ", ".join(written(fit.prefix) or "(the top)" for fit in everywhere)
        raise CheckpointError(
            f"{read.path}#{read.under}: no network that fits lies there; "
            + (f"those that fit: {places}" if places else "none in the file does")
        )
    fits = [_without(fit, kept) for fit in fits]
    problem = complaint(wanted, fits)
    if problem:
        if classes := classes_there(wanted, fits[0]):
            raise OtherClassesError(f"{read.path}: {problem}", classes)
        if channels := channels_there(wanted, fits[0]):
            raise OtherChannelsError(f"{read.path}: {problem}", channels)
        raise CheckpointError(f"{read.path}: {problem}")
    fit = fits[0]
    if read.under is None and (unclear := others_than(fit, fits)):
        places = " or ".join(f"{read.path}#{place}" for place in (written(fit.prefix), *unclear))
        raise CheckpointError(f"{read.path}: holds several networks that fit equally well; say which: {places}")
    module.load_state_dict({names[short]: fit.tensors[short] for short in fit.matched}, strict=False)
    others = () if read.under is not None else others_than(fit, everywhere)
    return LoadReport(read.path, fit.matched, fit.spared, fit.unexpected, fit.prefix, others)


def _unpacked(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata with what a run says in one entry, in JSON, among the others."""
    about = dict(metadata)
    try:
        packed = json.loads(about.pop(ABOUT, "{}"))
    except json.JSONDecodeError:
        packed = {}
    return about | ({str(name): str(value) for name, value in packed.items()} if isinstance(packed, dict) else {})


def _without(fit: Fit, names: Collection[str]) -> Fit:
    """The fit, where what the file has under some names is none of its concern."""
    return replace(fit, unexpected=tuple(name for name in fit.unexpected if name not in names))


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
