"""Converts what a user's loader yields to a `distill.types.Batch`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jaxtyping import Int, Shaped
from torch import Tensor

from distill.data.augment.color import to_float
from distill.inputs import Inputs
from distill.tasks import Classification, Task
from distill.types import Batch

Adapter = Callable[[Any], Any]
"""From what a loader yields to a `Batch`, or to anything else that `as_batch` understands."""

IMAGES = ("image", "images", "img", "pixel_values")
LABELS = ("label", "labels", "target", "targets")
INDICES = ("index", "indices", "idx")
ADVICE = "pass DistillModule(..., adapt=...), a function from such a batch to distill.Batch(images, targets)"


def as_batch(loaded: Any, adapt: Adapter | None = None, task: Task | None = None) -> Batch:
    """The samples of a step, from a `Batch`, an (images, targets) or (images, targets, indices) tuple, or a dict.

    A dict has 'image', 'images', 'img' or 'pixel_values' beside 'label', 'labels', 'target' or 'targets', and perhaps
    'index'. Labels of any type become what the task has: see `distill.tasks.Task.as_targets`.

    Args:
        loaded: what the loader yields.
        adapt: called with it first, unless it is a `Batch` already.
        task: what the labels are; None for `distill.tasks.Classification()`.

    Raises:
        ValueError: it isn't understood, or the labels aren't the task's.
    """
    task = task or Classification()
    if adapt is not None and not isinstance(loaded, Batch):
        loaded = adapt(loaded)
    if isinstance(loaded, Batch):
        indices, targets = _as_indices(loaded.indices, loaded), _as_targets(loaded.targets, task)
        counting = task.valid(targets) if loaded.valid is None else loaded.valid
        return replace(loaded, targets=targets, indices=indices, valid=counting)
    if isinstance(loaded, Mapping):
        parts = [_entry(loaded, IMAGES), _entry(loaded, LABELS), _entry(loaded, INDICES)]
    elif isinstance(loaded, tuple | list):
        parts = list(loaded) if len(loaded) == 3 else [*loaded, None]
    else:
        parts = []
    if len(parts) != 3 or not isinstance(parts[0], Tensor) or not isinstance(parts[1], Tensor):
        raise ValueError(f"a batch is {_described(loaded)}, in which images and targets were not found: {ADVICE}")
    indices, targets = _as_indices(parts[2], loaded), _as_targets(parts[1], task)
    return Batch(parts[0], targets, indices, task.valid(targets))


def images_of(loaded: Any, adapt: Adapter | None = None) -> Shaped[Tensor, "n ..."]:
    """The images alone, (N, C, H, W): of what `as_batch` takes, with or without targets, or of images by themselves.

    Raises:
        ValueError: it isn't understood.
    """
    if adapt is not None and not isinstance(loaded, Batch | Tensor):
        loaded = adapt(loaded)
    images = _entry(loaded, IMAGES) if isinstance(loaded, Mapping) else loaded
    if isinstance(images, tuple | list) and images:
        images = images[0]
    if isinstance(images, Batch):
        images = images.inputs
    if not isinstance(images, Tensor):
        raise ValueError(f"a batch is {_described(loaded)}, in which images were not found: {ADVICE}")
    return images


def as_float(inputs: Inputs) -> Inputs:
    """Images in [0, 1]; tensors by name as they are."""
    return to_float(inputs) if isinstance(inputs, Tensor) else inputs


def _as_targets(targets: Any, task: Task) -> Any:
    found = task.as_targets(targets)
    if found is None:
        raise ValueError(f"the targets of a batch are {_described(targets)}; must be {task.targets_form}: {ADVICE}")
    return found


def _as_indices(indices: Any, loaded: Any) -> Int[Tensor, "n"] | None:
    if indices is None:
        return None
    if not (isinstance(indices, Tensor) and _is_integer(indices) and indices.dim() == 1):
        raise ValueError(
            f"a batch is {_described(loaded)}, whose third item isn't the samples' indices, (N,) integers: {ADVICE}"
        )
    return indices.long().cpu()


def _is_integer(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


def _entry(loaded: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The one entry with any of these names; None where there is none or more than one."""
    found = [name for name in names if name in loaded]
    return loaded[found[0]] if len(found) == 1 else None


def _described(loaded: Any) -> str:
    """A batch or a part of it in words: a dict with 'a' and 'b', a tuple of 2."""
    if isinstance(loaded, Tensor):
        return f"{str(loaded.dtype).removeprefix('torch.')} of shape {tuple(loaded.shape)}"
    if isinstance(loaded, Mapping):
        return f"a {type(loaded).__name__} with {', '.join(map(repr, loaded)) or 'nothing'}"
    if isinstance(loaded, tuple | list):
        return f"a {type(loaded).__name__} of ({', '.join(type(part).__name__ for part in loaded)})"
    return f"a {type(loaded).__name__}"
