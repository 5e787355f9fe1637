"""Lists the layers of two networks that can be tapped, and suggests which to pair."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from distill.inputs import Inputs, call
from distill.models.logits import logits_of
from distill.models.modes import evaluating


@dataclass(frozen=True, slots=True)
class Layer:
    """A submodule by its path, and the shape of its output without the batch dimension.

    answers: its output is the network's own. image: height and width of what the network was shown; None if unknown.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    answers: bool = False
    image: tuple[int, int] | None = None

    @property
    def depth(self) -> int:
        """How many names its path has."""
        return self.path.count(".") + 1

    @property
    def resolution(self) -> tuple[str, int, int]:
        """Where its values lie: on a grid with the channels first or last, along a sequence, or nowhere (1, 1)."""
        match self.shape:
            case (first, height, width) if first == height != width:
                return ("grid, channels last", first, height)
            case (_, height, width) if height * width > 1:
                return ("grid", height, width)
            case (length, _) if length > 1:
                return ("sequence", length, 1)
        return ("vector", 1, 1)

    @property
    def stage(self) -> tuple[str, int, int]:
        """Which stage it may stand for: how often the image was halved, so that networks of other input sizes compare.

        As its resolution where that isn't known, and for sequences.
        """
        kind, height, width = self.resolution
        if self.image is None or not kind.startswith("grid"):
            return self.resolution
        return kind, round(math.log2(self.image[0] / height)), round(math.log2(self.image[1] / width))

    @property
    def passes_on(self) -> bool:
        """Whether it only pads, pools or hands on what a layer gave: such a layer is no stage."""
        return self.pads or self.kind.endswith("Pool2d")

    @property
    def pads(self) -> bool:
        """Whether it does nothing but to lay zeros or the like around a map, if that."""
        return self.kind == "Identity" or self.kind.endswith("Pad2d")


Pair = tuple[Layer, Layer]


def list_layers(network: nn.Module, inputs: Inputs) -> list[Layer]:
    """Run `network` once, in evaluation mode, and return its layers as they finish.

    A layer that runs several times is listed where it ran last, as a tap would capture it; one that did not run, or
    that gives no tensor, is left out. Modes and gradients of the network stay as they were.

    inputs: prepared images (N, C, H, W), or tensors by name.
    """
    seen: dict[str, tuple[str, Tensor]] = {}

    def hook(path: str) -> Any:
        def record(module: nn.Module, _inputs: Any, output: Any) -> None:
            seen.pop(path, None)
            try:
                seen[path] = (type(module).__name__, logits_of(output))
            except TypeError:
                return

        return record

    handles = [module.register_forward_hook(hook(path)) for path, module in network.named_modules() if path]
    try:
        with evaluating(network), torch.no_grad():
            answer = logits_of(call(network, inputs))
    finally:
        for handle in handles:
            handle.remove()
    image = (int(inputs.shape[-2]), int(inputs.shape[-1])) if isinstance(inputs, Tensor) else None
    shapes = {path: (kind, tuple(out.shape[1:]), out is answer) for path, (kind, out) in seen.items()}
    return [Layer(path, *found, image) for path, found in shapes.items()]


def suggest_pairs(student: Sequence[Layer], teacher: Sequence[Layer]) -> list[Pair]:
    """Pair the ends of the stages: where the image was halved as often; where none is shared, at the same share of the
    way.

    Blocks of transformers, which have no resolutions to tell stages by, are paired at quarters of the way.
    """
    our_blocks, their_blocks = _blocks(student), _blocks(teacher)
    ours, theirs = _stages(_outside(our_blocks, student)), _stages(_outside(their_blocks, teacher))
    pairs = [(layer, theirs[resolution]) for resolution, layer in ours.items() if resolution in theirs]
    if not any(layer.resolution[0].startswith("grid") for layer, _ in pairs):
        grids = ([x for x in stages.values() if x.resolution[0].startswith("grid")] for stages in (ours, theirs))
        pairs += _at_equal_shares(*grids)
    blocks = _at_equal_shares(our_blocks, their_blocks)
    if blocks:
        pairs = [pair for pair in pairs if pair[0].resolution[0] != "sequence"] + blocks
    return _in_order(pairs, student, teacher)


def layers_table(student: Sequence[Layer], teacher: Sequence[Layer], *, depth: int | None = 2) -> Table:
    """Lay both networks side by side, suggested pairs in one row with an arrow between.

    depth: how many names a path may have to be shown; None shows all.
    """
    pairs = suggest_pairs(student, teacher)
    chosen = {layer for pair in pairs for layer in pair}
    ours, theirs = (
        [layer for layer in layers if depth is None or layer.depth <= depth or layer in chosen]
        for layers in (student, teacher)
    )
    table = Table("student", "shape", "", "teacher", "shape", title="layers that can be tapped")
    for layer, other in pairs:
        _add_rows(table, ours[: ours.index(layer)], theirs[: theirs.index(other)])
        table.add_row(layer.path, _shape(layer), "<->", other.path, _shape(other), style="bold")
        ours, theirs = ours[ours.index(layer) + 1 :], theirs[theirs.index(other) + 1 :]
    _add_rows(table, ours, theirs)
    return table


def _stages(layers: Sequence[Layer]) -> dict[tuple[str, int, int], Layer]:
    """Return the layer that stands for each stage: of those with parts the shallowest, the one of most parts, the last.

    Layers that only pad or pool, and the stem, are left out.
    """
    parts = _parts(layers)
    best: dict[tuple[str, int, int], Layer] = {}
    for layer in _behind_the_stem([layer for layer in layers if not layer.passes_on], parts):
        rank = (parts[layer.path] > 0, -layer.depth, parts[layer.path])
        held = best.get(layer.stage)
        if not layer.answers and (held is None or rank >= (parts[held.path] > 0, -held.depth, parts[held.path])):
            best[layer.stage] = layer
    return best


def _parts(layers: Sequence[Layer]) -> dict[str, int]:
    """Return by path how many layers are inside."""
    parts: dict[str, int] = defaultdict(int)
    for layer in layers:
        names = layer.path.split(".")
        for i in range(1, len(names)) if not layer.pads else ():
            parts[".".join(names[:i])] += 1
    return parts


def _behind_the_stem(layers: Sequence[Layer], parts: dict[str, int]) -> list[Layer]:
    """Leave out the single layers that come before the first block, and are part of none."""
    inside = {layer.path for layer in layers if parts[layer.path] and layer.resolution[0].startswith("grid")}
    first = next((place for place, layer in enumerate(layers) if layer.path in inside), 0)
    return [
        layer
        for place, layer in enumerate(layers)
        if place >= first or any(layer.path.startswith(f"{path}.") for path in inside)
    ]


def _blocks(layers: Sequence[Layer]) -> list[Layer]:
    """Return the longest row of like siblings that work on sequences and differ by a number: a transformer's blocks."""
    rows: dict[tuple[str, str], list[Layer]] = defaultdict(list)
    for layer in layers:
        stem = layer.path.rstrip("0123456789")
        if layer.resolution[0] == "sequence" and stem != layer.path:
            rows[stem, layer.kind].append(layer)
    return max(rows.values(), key=len, default=[])


def _outside(blocks: Sequence[Layer], layers: Sequence[Layer]) -> list[Layer]:
    """Leave out what is inside of blocks, where tensors by attention head look like feature maps."""
    inside = tuple(f"{block.path}." for block in blocks)
    return [layer for layer in layers if not layer.path.startswith(inside)]


def _at_equal_shares(ours: Sequence[Layer], theirs: Sequence[Layer]) -> list[Pair]:
    count = min(4, len(ours), len(theirs))
    shares = [(i + 1) / count for i in range(count)]
    return [(ours[round(share * len(ours)) - 1], theirs[round(share * len(theirs)) - 1]) for share in shares]


def _in_order(pairs: Sequence[Pair], student: Sequence[Layer], teacher: Sequence[Layer]) -> list[Pair]:
    """Sort pairs by their place in both networks; one that crosses an earlier one is left out."""
    first = {layer.path: i for i, layer in enumerate(student)}
    second = {layer.path: i for i, layer in enumerate(teacher)}
    kept: list[Pair] = []
    reached = (-1, -1)
    for pair in sorted(pairs, key=lambda pair: (first[pair[0].path], second[pair[1].path])):
        place = (first[pair[0].path], second[pair[1].path])
        if place[0] > reached[0] and place[1] > reached[1]:
            kept.append(pair)
            reached = place
    return kept


def _add_rows(table: Table, ours: Sequence[Layer], theirs: Sequence[Layer]) -> None:
    for one, other in zip_longest(ours, theirs):
        table.add_row(*_cells(one), "", *_cells(other))


def _cells(layer: Layer | None) -> tuple[str, str]:
    return (layer.path, _shape(layer)) if layer else ("", "")


def _shape(layer: Layer) -> str:
    return " x ".join(map(str, layer.shape)) or "scalar"
