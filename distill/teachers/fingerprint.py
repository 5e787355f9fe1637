"""A cache's key: a hash of everything that determines an output, so that any change makes another cache."""

import hashlib
import inspect
import json
import sys
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from distill.data.samples import Samples
from distill.data.stream import Stream
from distill.models.network import Network
from distill.teachers.inputs import TeacherInputs
from distill.teachers.record import Layout

FORMAT = 2
AUGMENTING = ("distill.data.augment", "distill.random", "distill.data.stream", "distill.seeding")
DECODING = ["distill.data.pixels", "distill.data.stream"]


def asked(network: Network, inputs: TeacherInputs, layout: Layout) -> dict[str, Any]:
    """What is asked of whom, as it stands in the manifest; its hash is the key."""
    train = inputs.source.train
    about: dict[str, Any] = {
        "format": FORMAT,
        "teacher": {"name": network.name, "weights": weights(network), "code": code(network)},
        "data": {"name": inputs.source.name, "train": split(train), "val": split(inputs.source.val)},
        "precision": inputs.precision,
        "kept": asdict(layout),
        "augmented": None,
    }
    if inputs.augmented:
        modules = [name for name in sys.modules if name.startswith(AUGMENTING)]
        about["augmented"] = {**asdict(inputs.augment), "seed": inputs.seed, "code": _sources(modules)}
        if inputs.augment.mixes or (isinstance(train, Stream) and train.skip):
            about["augmented"]["partners"] = _hash(inputs.samples.numpy().tobytes())
    return about


def key(about: dict[str, Any]) -> str:
    """16 hexadecimal digits. What teacher and data are called is left out."""
    named = ("teacher", "data")
    counting = about | {part: {k: v for k, v in about[part].items() if k != "name"} for part in named}
    return _hash(json.dumps(counting, sort_keys=True).encode())


def weights(network: Network) -> str:
    """Of every parameter and buffer, also of those that no checkpoint holds, such as mean and standard deviation."""
    hasher = hashlib.sha256()
    for name, tensor in sorted([*network.named_parameters(), *network.named_buffers()]):
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hasher.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()[:16]


def code(network: Network) -> str:
    """Of how the network is put together, at which size, and of its layers' source files (torch's left out)."""
    hasher = hashlib.sha256(f"{network!r} {network.preprocess.size}".encode())
    for module in network.modules():
        text = getattr(module, "code", "") if isinstance(module, torch.fx.GraphModule | torch.jit.ScriptModule) else ""
        hasher.update(f"{_path_of(module)} {text}".encode())
    places = {type(module).__module__ for module in network.modules()}
    hasher.update(_sources([place for place in places if place.split(".")[0] != "torch"]).encode())
    return hasher.hexdigest()[:16]


def split(samples: Samples) -> str:
    """Of what a split holds, as it tells it; of one that decodes files, of the code that does so too.

    The samples that a stream looks at need not hold the kind of file that it now reads otherwise.
    """
    hasher = hashlib.sha256()
    for part in samples.contents():
        hasher.update(part)
    if isinstance(samples, Stream):
        hasher.update(_sources(DECODING).encode())
    return hasher.hexdigest()[:16]


def _path_of(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _sources(modules: list[str]) -> str:
    """Of the source files of modules, as far as they have any."""
    hasher = hashlib.sha256()
    for name in sorted(modules):
        try:
            hasher.update(inspect.getsource(sys.modules[name]).encode())
        except (OSError, TypeError, KeyError):
            hasher.update(name.encode())
    return hasher.hexdigest()[:16]


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
