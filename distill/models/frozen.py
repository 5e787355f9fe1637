"""A network for inference alone, in the fastest form whose outputs stay within a tolerance of its own."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from distill.inputs import Inputs, first_tensor, map_tensors
from distill.losses import kl_divergence, linear_terms
from distill.models.network import Network
from distill.types import Outputs

# How far answers may be from those of the network as it was: KL in nats at temperature 1, the mean over images; and the
# difference of a feature over its size, as root mean squares. Half precision rounds to 3 digits (bfloat16) or 4.
TOLERANCE = {torch.float32: (1e-5, 1e-3), torch.bfloat16: (2e-3, 5e-2), torch.float16: (1e-3, 2e-2)}

UNCHANGED = "as they are: no faster form of the network keeps the tolerance"


class FrozenNetwork(Network):
    """A copy of a network without gradients, whose arithmetic is that of its weights' dtype, whatever autocast says."""

    def forward(self, inputs: Inputs) -> Outputs:
        """As Network, with logits and features in the weights' dtype."""
        with torch.autocast(first_tensor(inputs).device.type, enabled=False):
            return super().forward(inputs)


@torch.no_grad()
def freeze(network: Network, inputs: Inputs, precision: str) -> tuple[Network, str]:
    """The fastest frozen form of a network that keeps the tolerance, and which; the network itself where none does.

    Tried in turn: batch normalisations folded and weights in the trainer's half precision; folded alone.

    Args:
        network: in evaluation mode; it stays as it is.
        inputs: images (N, C, H, W) in [0, 1], or tensors by name, on its device, to compare answers on.
        precision: the trainer's, such as 'bf16-mixed'.
    """
    weights = [p for p in network.backbone.parameters() if p.is_floating_point()]
    if {weight.dtype for weight in weights} != {torch.float32}:
        return network, UNCHANGED
    device = first_tensor(inputs).device
    half = {"bf16": torch.bfloat16, "16": torch.float16}.get(precision.split("-")[0])
    if half is torch.float16 and device.type != "cuda":
        half = None
    with torch.autocast(device.type, enabled=False):
        own = network(inputs)
    for dtype in (half, torch.float32):
        if dtype is None:
            continue
        try:
            copied = copied_network(network, FrozenNetwork)
            folded = _fold(copied, inputs)
            if dtype is not torch.float32:
                copied.backbone.to(dtype)
                copied.preprocess.dtype = dtype
            kl, features = _distance(own, copied(inputs))
        except Exception:  # whatever a foreign network says to being copied, folded or cast
            continue
        if kl <= TOLERANCE[dtype][0] and features <= TOLERANCE[dtype][1]:
            form = f"in {str(dtype)[6:]}" + (f" with {folded} BatchNorms folded" if folded else "")
            return copied, f"{form}, {kl:.1e} nats from the network's own (at most {TOLERANCE[dtype][0]:.0e})"
    return network, UNCHANGED


def copied_network(network: Network, kind: type[Network] = Network) -> Network:
    """The same network with taps of its own, in evaluation mode and without gradients."""
    other = kind(copy.deepcopy(network.backbone), name=network.name, trained=network.trained)
    other.lay_out(channels_last=network.channels_last)
    other.preprocess = copy.deepcopy(network.preprocess)
    other.classes, other.comparable, other.layouts = network.classes, network.comparable, network.layouts
    paths = network.tapped
    if paths:
        for ours, theirs in zip(network.backbone.modules(), other.backbone.modules(), strict=True):
            for hooks, copied in (
                (ours._forward_hooks, theirs._forward_hooks),
                (ours._forward_pre_hooks, theirs._forward_pre_hooks),
            ):
                for hook in network.hooks & hooks.keys():
                    del copied[hook]
        other.tap(paths)
    return other.eval().requires_grad_(False)


def _fold(network: Network, inputs: Inputs) -> int:
    """Make each batch normalisation that follows a convolution a part of it; returns how many."""
    pairs = list(_pairs(network, map_tensors(lambda tensor: tensor[:2], inputs)))
    replaced: dict[int, nn.Module] = {id(conv): fuse_conv_bn_eval(conv, norm) for conv, norm in pairs}
    replaced |= {id(norm): nn.Identity() for _, norm in pairs}
    for module in list(network.backbone.modules()):
        for name, child in list(module.named_children()):
            if id(child) in replaced:
                setattr(module, name, replaced[id(child)])
    return len(pairs)


def _pairs(network: Network, inputs: Inputs) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the normalisations that take just what they give, found by watching a forward pass.

    Those that are called more than once or have hooks (taps) are left out. What else a convolution's output may be used
    for isn't seen here: the comparison of answers finds it.
    """
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []  # tensors are kept alive, so that none has another's identity

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((module, inputs[0], output))

    watched = [
        module
        for module in network.backbone.modules()
        if type(module) in (nn.Conv2d, nn.BatchNorm2d) and not module._forward_hooks and not module._forward_pre_hooks
    ]
    handles = [module.register_forward_hook(watch) for module in watched]
    try:
        network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    times = [id(module) for module, _, _ in calls]
    makers = {id(output): module for module, _, output in calls if isinstance(module, nn.Conv2d)}
    for module, given, _ in calls:
        conv = makers.get(id(given))
        once = times.count(id(module)) == times.count(id(conv)) == 1
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and conv is not None and once:
            yield conv, module


def _distance(own: Outputs, other: Outputs) -> tuple[float, float]:
    """KL in nats, and the largest relative difference of a feature; a number that is no class counts as one."""
    if own.projection is not None and other.projection is not None:
        kl, _ = linear_terms(other.projection, own.projection, reduction="positionmean")
    else:
        kl = kl_divergence(other.logits.float(), own.logits)
    pairs = [(feature, other.features[name]) for name, feature in own.features.items()]
    if own.projection is None and own.logits.shape[1] == 1:
        pairs.append((own.logits, other.logits))
    gaps = [((theirs.float() - ours).norm() / ours.norm().clamp_min(1e-12)).item() for ours, theirs in pairs]
    return abs(kl.item()), float(torch.tensor([0.0, *gaps]).max())  # unlike Python's, NaN if one is
