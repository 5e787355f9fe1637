"""What feature methods share: features as maps of equal size, and projections from the student's to the teacher's.

A map is (N, C, H, W); maps with the channels last are turned. Tokens (N, T, D) become the D-channel map of their grid,
the class and register tokens before the grid left out; an embedding (N, D) becomes a map of one position. Networks know
the layout of what is tapped once they have seen an example; without one, it is told from the shape of the feature.
"""

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distill.losses.logits import gap, precise, ruled_out
from distill.methods.base import Example, Method
from distill.types import FeatureLayout, Outputs

EXTRA_TOKENS = 5  # a class token and four registers are the most that a vision transformer puts before its grid


def maps(method: Method, student: Outputs, teacher: Outputs) -> tuple[list[Tensor], list[Tensor]]:
    """The method's tapped features as maps, in the order of its taps.

    Raises:
        ValueError: a feature is no map, no grid of tokens and no embedding.
    """
    name = type(method).__name__
    ours, theirs = (
        [as_map(outputs.features[x], f"{name}: {side}_layers: {x!r}", outputs.layouts.get(x)) for x in layers]
        for side, outputs, layers in (
            ("student", student, method.taps.student),
            ("teacher", teacher, method.taps.teacher),
        )
    )
    return ours, theirs


def paired_maps(method: Method, student: Outputs, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
    """The tapped maps side by side, each in its own size.

    Raises:
        ValueError: the networks have different numbers of layers tapped, or none.
    """
    method.taps.check_paired()
    return list(zip(*maps(method, student, teacher), strict=True))


def matched_maps(
    method: Method, student: Outputs, teacher: Outputs, *, positions: bool = False
) -> list[tuple[Tensor, Tensor]]:
    """The tapped maps side by side, (N, C_student, H, W) and (N, C_teacher, H, W), the larger averaged down.

    positions: the method compares positions, so that an embedding has nothing to give.

    Raises:
        ValueError: the networks have different numbers of layers tapped, or a feature doesn't suit the method.
    """
    layers = [matched(s, t) for s, t in paired_maps(method, student, teacher)]
    if positions and any(s.shape[2] * s.shape[3] == 1 for s, _ in layers):
        shapes = [
            tuple(outputs.features[layer].shape)
            for outputs, names in ((student, method.taps.student), (teacher, method.taps.teacher))
            for layer in names
        ]
        raise ValueError(
            f"{_layers_of(method)} have shapes {shapes}: this method compares positions, and a pair has only one; "
            "name layers that give maps or tokens"
        )
    return layers


def single(
    method: Method, student: Outputs, teacher: Outputs
) -> tuple[Float[Tensor, "n c _ _"], Float[Tensor, "n d _ _"]]:
    """The one tapped map of each network, of any size.

    Raises:
        ValueError: a network has none or several layers tapped.
    """
    ours, theirs = maps(method, student, teacher)
    if len(ours) != 1 or len(theirs) != 1:
        raise ValueError(f"{_layers_of(method)}: name one layer of each")
    return ours[0], theirs[0]


def as_map(feature: Float[Tensor, "n ..."], what: str, layout: FeatureLayout | None = None) -> Float[Tensor, "n c h w"]:
    """A map, tokens or an embedding as (N, C, H, W); ValueError, beginning with `what`, for anything else.

    layout: of the feature; None where its shape must tell: equal first two of three are a map with the channels last.
    """
    if feature.ndim == 4:
        first, second, third = feature.shape[1:]
        turned = first == second != third if layout is None else layout.kind == "channels-last map"
        return feature.permute(0, 3, 1, 2) if turned else feature
    if feature.ndim == 2:
        return feature[:, :, None, None]
    if feature.ndim == 3:
        grid = _square_grid(feature.shape[1]) if layout is None or layout.grid is None else layout.grid
        if grid is not None:
            return feature[:, -grid[0] * grid[1] :].mT.reshape(len(feature), -1, *grid)
    raise ValueError(
        f"{what} has shape {tuple(feature.shape)}: must be a map (N, C, H, W), tokens (N, T, D) of a square grid, "
        "or an embedding (N, D)"
    )


def _square_grid(tokens: int) -> tuple[int, int] | None:
    """The largest square grid of so many tokens, a few before it left out; None if there are too many of these."""
    side = math.isqrt(tokens)
    return (side, side) if side and tokens - side * side <= EXTRA_TOKENS else None


def matched(
    first: Float[Tensor, "n c _ _"], second: Float[Tensor, "n d _ _"]
) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n d h w"]]:
    """Two maps at the smaller of their sizes."""
    height, width = (min(sizes) for sizes in zip(first.shape[2:], second.shape[2:], strict=True))
    return shrunk(first, height, width), shrunk(second, height, width)


def shrunk(feature: Float[Tensor, "n c _ _"], height: int, width: int) -> Float[Tensor, "n c _ _"]:
    """The map averaged down to at most height x width positions."""
    size = min(feature.shape[2], height), min(feature.shape[3], width)
    return feature if tuple(feature.shape[2:]) == size else F.adaptive_avg_pool2d(feature, size)


def through(module: nn.Module, feature: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """What the module makes of the feature, taken in the module's own dtype and given back in at least float32."""
    return precise(module(feature.to(next(module.parameters(), feature).dtype)))


def projector(student: Float[Tensor, "n _ ..."], teacher: Float[Tensor, "n _ ..."], *, bias: bool = True) -> nn.Module:
    """A 1x1 convolution to the teacher's channels; nothing where they are the student's already."""
    inputs, outputs = student.shape[1], teacher.shape[1]
    return nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=bias)


def connector(student: Float[Tensor, "n _ _ _"], teacher: Float[Tensor, "n _ _ _"], *, relu: bool) -> nn.Sequential:
    """A 1x1 convolution to the teacher's channels and a BatchNorm, then perhaps a ReLU."""
    inputs, outputs = student.shape[1], teacher.shape[1]
    parts: list[nn.Module] = [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*parts, nn.ReLU()) if relu else nn.Sequential(*parts)


def bottleneck(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    """Convolutions 1x1, 3x3, 1x1 with BatchNorm and ReLU between them."""
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 1, bias=False),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        nn.Conv2d(middle, middle, 3, padding=1, bias=False),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        nn.Conv2d(middle, outputs, 1, bias=False),
    )


def not_negative_anywhere(feature: Float[Tensor, "..."]) -> bool:
    """Whether a feature came out of a ReLU: then a projection towards it ends in one too."""
    return bool((feature >= 0).all())


def teacher_classifier(method: Method, example: Example, seen: Float[Tensor, "n d h w"]) -> nn.Linear:
    """The teacher's last linear layer, frozen; `seen` is the map (N, D, H, W) whose average it is said to see.

    Raises:
        ValueError: the teacher has no such layer to give, or it sees something else.
    """
    classifier = example.classifier
    if classifier is None:
        raise ValueError(
            f"{type(method).__name__} needs the teacher's last linear layer, and this teacher has none to give: "
            "use teaching=live with a teacher that ends in one"
        )
    classifier.requires_grad_(False)
    logits = precise(example.teacher.logits)
    sees = next(classifier.parameters()).shape[-1] == seen.shape[1]
    masked = ruled_out(logits)  # after the classifier
    # A wrong layer is off by far more than half precision rounds.
    if not sees or not gap(through(classifier, seen.mean((2, 3)))[None, ~masked], logits[None, ~masked]) <= 0.02:
        raise ValueError(
            f"{_layers_of(method)}: the average of the teacher's is not what its classifier sees; "
            "name the layer that the teacher averages, or embedding"
        )
    return classifier


def _layers_of(method: Method) -> str:
    layers = method.taps
    return f"{type(method).__name__}: student_layers={list(layers.student)}, teacher_layers={list(layers.teacher)}"
