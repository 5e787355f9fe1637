"""What a pretrained network expects of its images, and what its outputs stand for."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from torch import nn

from distill.errors import SettingError


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How images in [0, 1] become what a network was trained on; None leaves a part to the data set.

    A builder that knows attaches one to the module it returns; a class of the user's may have one, or a dictionary of
    some of its fields, as its attribute `distill_preprocessing`.

    mean, std: subtracted and divided by, one value a channel. size: side of the square input, in pixels.
    channels: of its images: 3 for RGB, 1 for grey.
    classes: names of its outputs, in order.
    trained: every layer has trained weights, the last one for the classes of the data.
    pretrained: layers have weights that were trained before, if for something else.
    name: what to call the network in tables; None: by its class.
    untrained: the builder's settings that give the same layers without a look for pretrained weights.
    of_weights: what the weights that are published for the network expect, where it has none of them now: for weights
        that come from a file.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None
    trained: bool = False
    untrained: Mapping[str, Any] = field(default_factory=dict)
    channels: int | None = None
    classes: tuple[str, ...] | None = None
    of_weights: "Preprocessing | None" = None
    pretrained: bool = False
    name: str | None = None


def attach_preprocessing(module: nn.Module, preprocessing: Preprocessing) -> nn.Module:
    """Say of `module` what it expects, for preprocessing_of to tell; returns the module."""
    object.__setattr__(module, "distill_preprocessing", preprocessing)
    return module


def preprocessing_of(module: nn.Module) -> Preprocessing:
    """Return what was said of `module`, or a Preprocessing that leaves everything to the data set.

    Raises:
        SettingError: its attribute `distill_preprocessing` is neither a Preprocessing nor a dictionary of its fields.
    """
    found = getattr(module, "distill_preprocessing", None)
    if found is None:
        return Preprocessing()
    if isinstance(found, Preprocessing):
        return found
    known = [field.name for field in fields(Preprocessing)]
    if not isinstance(found, Mapping) or not set(found) <= set(known):
        raise SettingError(
            f"{type(module).__name__}.distill_preprocessing={found!r}: must be a dictionary with some of "
            f"{', '.join(known)}"
        )
    return Preprocessing(**{name: _frozen(value) for name, value in found.items()})


def of_timm(config: Mapping[str, Any]) -> Preprocessing:
    """What timm's configuration of a network's weights says."""
    size, names = config.get("input_size"), config.get("label_names")
    return Preprocessing(
        mean=_frozen(config.get("mean")),
        std=_frozen(config.get("std")),
        size=int(size[-1]) if size else None,
        classes=_frozen(names),
    )


def averaged(known: Preprocessing, channels: int) -> Preprocessing:
    """The same for a network whose first layer was adapted to another number of channels: means over those."""
    if known.mean is None or known.std is None or len(known.mean) == channels:
        return replace(known, channels=channels)
    mean, std = ((sum(values) / len(values),) * channels for values in (known.mean, known.std))
    return replace(known, mean=mean, std=std, channels=channels)


def to_metadata(preprocessing: Preprocessing) -> dict[str, str]:
    """What is saved beside weights, by name, in JSON; read by `from_metadata`."""
    kept = ("mean", "std", "size", "channels", "classes")
    return {name: json.dumps(getattr(preprocessing, name)) for name in kept}


def from_metadata(about: Mapping[str, str]) -> Preprocessing | None:
    """What `to_metadata` saved; None for weights that don't say how their images were normalised."""
    if "mean" not in about or "std" not in about:
        return None
    try:
        values = {name: json.loads(about.get(name, "null")) for name in ("mean", "std", "size", "channels", "classes")}
    except json.JSONDecodeError:
        return None
    return Preprocessing(**{name: _frozen(value) for name, value in values.items()})


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
