"""Resolves the words 'stages', 'last_stage' and 'embedding' to the submodules of two networks."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from distill.errors import SettingError
from distill.inputs import Inputs
from distill.methods.taps import ATTENTION
from distill.models.feature_layouts import feature_layouts
from distill.models.layers import Layer, list_layers, suggest_pairs
from distill.models.modes import evaluating
from distill.models.network import Network
from distill.types import Outputs

WORDS = ("stages", "last_stage", "embedding")


def is_word(layer: str) -> bool:
    """Whether it stands for layers that a look at the networks finds, and is no path or pattern itself."""
    base, part = _split(layer)
    return base in WORDS or part != ""


def resolve(
    student_layers: Sequence[str], teacher_layers: Sequence[str], student: Network, teacher: Network, inputs: Inputs
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Replace words by the layers that they stand for; paths and patterns stay.

    'stages' is the output of each stage that both networks have, in matching order; 'last_stage' each
    network's last map, what it pools: in pre-activated networks that is behind the stage's own output; 'embedding' what
    goes into the classifier, the last layer of the network. With `:query`, `:key` or `:value` behind it, a word or path
    stands for the layer within a transformer's block that makes these.

    Args:
        student_layers, teacher_layers: paths, patterns and words.
        student, teacher: the networks.
        inputs: images (N, C, H, W) in [0, 1], or tensors by name, shown once to each network that a word is asked of.

    Raises:
        SettingError: a network has no stages, or no classifier, to be found.
    """
    if not any(map(is_word, (*student_layers, *teacher_layers))):
        return tuple(student_layers), tuple(teacher_layers)
    ours, theirs = (list_layers(network.backbone, network.preprocess(inputs)) for network in (student, teacher))
    pairs = [pair for pair in suggest_pairs(ours, theirs) if pair[0].resolution[0] != "vector"]
    return (
        _replace(student_layers, [pair[0].path for pair in pairs], ours, student),
        _replace(teacher_layers, [pair[1].path for pair in pairs], theirs, teacher),
    )


def find_layouts(network: Network, inputs: Inputs) -> None:
    """Let a network know how the outputs of its tapped layers lie, by a look at a few inputs."""
    shown = network.preprocess(inputs)
    layers = list_layers(network.backbone, shown)
    with evaluating(network), torch.no_grad():
        outputs: Outputs = network(inputs)
    shapes, image = [layer.shape for layer in layers], layers[0].image
    known = dict(zip([layer.path for layer in layers], feature_layouts(shapes, image), strict=True))
    for name, feature in outputs.features.items():  # what goes into a layer comes after what was before it
        layout = known.get(name) or feature_layouts([*shapes, tuple(feature.shape[1:])], image)[-1]
        network.layouts[name] = replace(layout, heads=_heads(network, name))


def _heads(network: Network, path: str) -> int | None:
    """Of attention, in a layer that makes queries, keys or values; None of other layers, or where that is unknown."""
    last = path.rpartition(".")[2]
    config = getattr(getattr(network.backbone, "model", network.backbone), "config", None)
    if config is None or not any(last in names for names in ATTENTION.values()):
        return None
    heads = getattr(config, "num_attention_heads", None)
    grouped = None if last in ATTENTION["query"] else getattr(config, "num_key_value_heads", None)
    return grouped or heads


def _replace(words: Sequence[str], stages: list[str], layers: Sequence[Layer], network: Network) -> tuple[str, ...]:
    names: list[str] = []
    for word, part in map(_split, words):
        before = len(names)
        if word in ("stages", "last_stage"):
            if not stages:
                raise SettingError(
                    f"{network.name}: no stages were found; name layers by their paths instead of {word!r}"
                )
            names += stages if word == "stages" else [_pooled(stages[-1], layers)]
        elif word == "embedding":
            names.append(f"{classifier_path(layers, network)}:input")
        else:
            names.append(word)
        if part:
            names[before:] = [_within(path, part, layers, network) for path in names[before:]]
    return tuple(names)


def _split(word: str) -> tuple[str, str]:
    """A word or path, and the part of attention behind it; '' for none."""
    base, _, part = word.rpartition(":")
    return (base, part) if part in ATTENTION else (word, "")


def _within(block: str, part: str, layers: Sequence[Layer], network: Network) -> str:
    """The layer in a block that makes queries, keys or values."""
    paths = [layer.path for layer in layers if layer.path.startswith(f"{block}.")]
    found = [path for path in paths if path.rpartition(".")[2] in ATTENTION[part]]
    if len(found) != 1:
        raise SettingError(
            f"{network.name}: {block} has no one layer that makes attention's {part}; the method is for encoders such "
            "as BERT: choose another method, or name blocks that have one"
        )
    return found[0]


def _pooled(stage: str, layers: Sequence[Layer]) -> str:
    """The network's last map, which it pools; the last stage itself in transformers, which end in more than one way."""
    if next(layer.resolution[0] for layer in layers if layer.path == stage) == "sequence":
        return stage
    return [layer.path for layer in layers if layer.resolution[0].startswith("grid") and not layer.answers][-1]


def classifier_path(layers: Sequence[Layer], network: Network) -> str:
    """The layer whose output is the network's answer: the innermost, if several pass it on.

    Raises:
        SettingError: no submodule gives the answer, such as where a function computes it.
    """
    answering = [layer for layer in layers if layer.answers and layer.kind in ("Linear", "Conv2d")]
    if not answering:
        raise SettingError(
            f"{network.name}: its last layer is no linear layer; name a layer by its path instead of 'embedding'"
        )
    return max(answering, key=lambda layer: layer.depth).path


def classifier(network: Network, inputs: Inputs) -> nn.Linear | None:
    """A frozen copy of the network's last linear layer, (N, D) to (N, classes); None where it has none."""
    try:
        path = classifier_path(list_layers(network.backbone, network.preprocess(inputs)), network)
    except SettingError:
        return None
    layer = network.backbone.get_submodule(path)
    if not isinstance(layer, nn.Linear):
        return None
    copied = copy.deepcopy(layer).train().requires_grad_(False)
    if network.classes is not None:  # the others are not the data's
        rows = list(network.classes)
        copied.weight, copied.out_features = nn.Parameter(copied.weight[rows], requires_grad=False), len(rows)
        copied.bias = None if copied.bias is None else nn.Parameter(copied.bias[rows], requires_grad=False)
    return copied
