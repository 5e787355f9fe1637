"""Which parameters are trained, and at which rate and weight decay: freezing, and groups for the optimizer."""

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from distill.errors import SettingError, suggestion
from distill.models.network import Network

OptimizerFactory = Callable[[Iterable[nn.Parameter] | Iterable[dict[str, Any]]], Optimizer]

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True, slots=True)
class Grouping:
    """How the parameters of a network are told apart by its optimizer.

    layer_decay: the last layer learns at the full rate, each before it at so many times the rate of the one behind it;
        None for one rate throughout.
    decay_norms_and_biases: whether vectors (the weights of norms, biases) decay as matrices do.
    """

    layer_decay: float | None = None
    decay_norms_and_biases: bool = True

    def __post_init__(self) -> None:
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay={self.layer_decay}: must be above 0 and at most 1, or null")

    @property
    def one(self) -> bool:
        """Whether all parameters are treated alike."""
        return self.layer_decay is None and self.decay_norms_and_biases

    def optimizer(self, factory: OptimizerFactory, network: Network, others: nn.Module) -> Optimizer:
        """An optimizer of what is trained of a network and of `others` (a method's projections)."""
        if self.one:
            parameters = dict.fromkeys((*others.parameters(), *network.parameters()))
            return factory([parameter for parameter in parameters if parameter.requires_grad])
        optimizer = factory(self.groups(network, others))
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_scale"]
        return optimizer

    def groups(self, network: Network, others: nn.Module) -> list[dict[str, Any]]:
        """The trained parameters as an optimizer takes them.

        Each group has its share of the rate as "lr_scale". What belongs to `others` (a method's projections) learns at
        the full rate.
        """
        scales = self._scales(network.backbone)
        found: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for parameter in dict.fromkeys((*network.parameters(), *others.parameters())):
            if parameter.requires_grad:
                decays = self.decay_norms_and_biases or parameter.dim() > 1
                found.setdefault((scales.get(id(parameter), 1.0), decays), []).append(parameter)
        return [
            {"params": parameters, "lr_scale": scale, **({} if decays else {"weight_decay": 0.0})}
            for (scale, decays), parameters in found.items()
        ]

    def _scales(self, backbone: nn.Module) -> dict[int, float]:
        if self.layer_decay is None:
            return {}
        layers = layers_of(backbone)
        return {
            id(parameter): self.layer_decay ** (len(layers) - 1 - depth)
            for depth, layer in enumerate(layers)
            for parameter in layer
        }


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Have an optimizer learn at another rate; groups with a rate of their own keep their ratio to it."""
    base = optimizer.defaults["lr"]
    for group in optimizer.param_groups:
        group["lr"] = rate * (group["lr"] / base if base else 1.0)


def unscale_before_step(optimizer: Optimizer) -> None:
    """Have gradients divided by the loss scale before they are clipped; a fused optimizer's step stays fused.

    It would divide within its step, and Lightning refuses to clip the gradients of such an optimizer.
    """
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]


def layers_of(backbone: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of a network by layer, from the first to the last.

    A layer is a part of the network or an item of its lists: a block of a residual network or of a transformer, the
    stem, the classifier. A norm that stands alone goes with the layer before it; what belongs to no part (a class
    token, positions) with the first.
    """
    loose, *parts = _parts(backbone)
    layers: list[list[nn.Parameter]] = []
    for part in parts:
        if any(parameter.dim() > 1 for parameter in part) or not layers:
            layers.append([])
        layers[-1] += part
    if len(layers) > 1 and all(parameter.dim() == 1 for parameter in layers[0]):
        layers[:2] = [layers[0] + layers[1]]  # a norm before all else
    return [loose + layers[0], *layers[1:]] if layers else [loose]


def _parts(module: nn.Module) -> list[list[nn.Parameter]]:
    """What no part of it holds, then the parameters of each part, in order.

    A part most of which lies in lists (an encoder, a backbone) is looked into.
    """
    loose, parts = list(module.parameters(recurse=False)), []
    for child in module.children():
        if type(child) in CONTAINERS:
            parts += list(_items(child))
        elif 2 * _listed(child) > _count(child):
            inner_loose, *inner = _parts(child)
            loose += inner_loose
            parts += inner
        else:
            parts.append(list(child.parameters()))
    return [loose, *(part for part in parts if part)]


def _items(container: nn.Module) -> Iterator[list[nn.Parameter]]:
    for item in container.children():
        if type(item) in CONTAINERS:
            yield from _items(item)
        else:
            yield list(item.parameters())


def _listed(module: nn.Module) -> int:
    """How many numbers the lists within a part hold."""
    return _count(module) if type(module) in CONTAINERS else sum(map(_listed, module.children()))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def freeze(network: Network, patterns: Sequence[str]) -> None:
    """Take parts of a network out of training: they get no gradient, and stay in evaluation mode.

    Args:
        network: whose backbone's parameters and modules are meant.
        patterns: their names, `*` standing for any run of characters, dots too; a module takes all below it along.

    Raises:
        SettingError: a pattern that matches nothing, or nothing is left to train.
    """
    modules = {name: module for name, module in network.backbone.named_modules() if name}
    parameters = dict(network.backbone.named_parameters())
    for pattern in patterns:
        parts = [modules[name] for name in fnmatch.filter(modules, pattern)]
        single = [parameters[name] for name in fnmatch.filter(parameters, pattern)]
        if not parts and not single:
            raise SettingError(f"freeze=[{pattern}]: no layer or parameter matches{suggestion(pattern, modules)}")
        network.frozen.update(inner for part in parts for inner in part.modules())
        for parameter in (*single, *(parameter for part in parts for parameter in part.parameters())):
            parameter.requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in parameters.values()):
        raise SettingError(f"freeze=[{','.join(patterns)}]: leaves nothing to train; name fewer parts")
    network.train(network.training)
