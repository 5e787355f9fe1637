"""Which layers the methods of a run look at, and which of student and teacher belong together."""

from collections.abc import Mapping

from torch import Tensor

from distill.methods import Method
from distill.models.layers import list_layers
from distill.models.network import INPUT, Network


def tapped_lines(methods: Mapping[str, Method], student: Network, teacher: Network | None, images: Tensor) -> list[str]:
    """A line for each method that taps layers: 'at: layer1 16 x 8 x 8 <-> layer2 64 x 16 x 16, ...'.

    Args:
        methods: by their names in the configuration, with the names of layers in `taps`.
        student, teacher: whose layers they are; None where no live network teaches.
        images: (N, C, H, W) of the data, float in [0, 1], shown to both once.
    """
    if not any(method.taps.student or method.taps.teacher for method in methods.values()):
        return []
    ours, theirs = (_shapes(network, images) for network in (student, teacher))
    lines = []
    for name, method in methods.items():
        left = [_described(path, ours) for path in method.taps.student]
        right = [_described(path, theirs) for path in method.taps.teacher]
        if left and len(left) == len(right):
            pairs = [f"{one} <-> {other}" for one, other in zip(left, right, strict=True)]
            lines.append(f"{name}: {', '.join(pairs)}")
        elif left or right:
            lines.append(f"{name}: student {', '.join(left) or 'none'}; teacher {', '.join(right) or 'none'}")
    return lines


def _shapes(network: Network | None, images: Tensor) -> dict[str, str]:
    if network is None:
        return {}
    weight = next(network.parameters(), images)  # the rehearsal may have left the network in half precision, elsewhere
    prepared = network.preprocess.to(weight.device)(images.to(weight.device, weight.dtype))
    layers = list_layers(network.backbone, network.arrange(prepared.to(weight.dtype)))
    return {layer.path: " x ".join(map(str, layer.shape)) for layer in layers}


def _described(path: str, shapes: Mapping[str, str]) -> str:
    if path.endswith(INPUT):
        return f"what goes into {path.removesuffix(INPUT)}"
    return f"{path} {shapes[path]}" if path in shapes else path
