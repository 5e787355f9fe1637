"""Which parameters are trained at which rate and decay: freezing and the optimizer's groups."""

from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from distill.errors import SettingError
from distill.methods import Supervised
from distill.models.network import Network
from distill.models.resnet import cifar_resnet
from distill.training.parameters import Grouping, freeze, layers_of


def names(module: nn.Module) -> list[list[str]]:
    known = {id(parameter): name for name, parameter in module.named_parameters()}
    return [[known[id(parameter)] for parameter in layer] for layer in layers_of(module)]


def small_vit() -> nn.Module:
    return models.VisionTransformer(32, 16, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=4)


class Wrapped(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


@pytest.mark.parametrize("wrap", [lambda module: module, Wrapped], ids=["plain", "wrapped"])
def test_a_residual_network_is_its_stem_its_blocks_and_its_classifier(wrap: Any) -> None:
    found = names(wrap(models.resnet18()))
    assert [layer[0].removeprefix("inner.") for layer in found] == [
        "conv1.weight", *(f"layer{i}.{j}.conv1.weight" for i in range(1, 5) for j in range(2)), "fc.weight",
    ]  # fmt: skip
    assert found[0][1:] == [f"{found[0][0].removesuffix('conv1.weight')}bn1.{name}" for name in ("weight", "bias")]


def test_a_transformer_is_its_embedding_its_blocks_and_its_classifier() -> None:
    found = names(small_vit())
    assert len(found) == 5
    assert set(found[0]) == {"class_token", "encoder.pos_embedding", "conv_proj.weight", "conv_proj.bias"}
    assert all(all(f"encoder_layer_{depth}." in name for name in found[depth + 1][:-2]) for depth in range(3))
    assert found[3][-2:] == ["encoder.ln.weight", "encoder.ln.bias"]
    assert found[4] == ["heads.head.weight", "heads.head.bias"]


@pytest.mark.parametrize("make", [models.efficientnet_b0, models.convnext_tiny, models.vgg11_bn, models.densenet121])
def test_every_parameter_is_in_one_layer(make: Any) -> None:
    with torch.device("meta"):
        module = make()
    found = names(module)
    assert sorted(name for layer in found for name in layer) == sorted(dict(module.named_parameters()))
    assert 9 <= len(found) <= 70


def test_each_layer_learns_at_a_share_of_the_rate_of_the_one_behind_it() -> None:
    network, method = Network(small_vit()), Supervised()
    method.projection = nn.Linear(2, 2)
    groups = Grouping(layer_decay=0.5).groups(network, method)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    backbone: Any = network.backbone
    assert scale[id(backbone.heads.head.weight)] == scale[id(method.projection.weight)] == 1
    blocks = [scale[id(layer.ln_1.weight)] for layer in backbone.encoder.layers]
    assert blocks == [0.125, 0.25, 0.5]
    assert scale[id(backbone.class_token)] == 0.0625
    assert not any("weight_decay" in group for group in groups)


def test_norms_and_biases_may_be_spared_weight_decay() -> None:
    network = Network(cifar_resnet(depth=8, num_classes=3, in_channels=1))
    groups = Grouping(decay_norms_and_biases=False).groups(network, nn.Module())
    spared = {id(p) for group in groups if group.get("weight_decay") == 0.0 for p in group["params"]}
    assert spared == {id(p) for p in network.parameters() if p.dim() == 1}
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


def test_frozen_parts_get_no_gradient_and_stay_in_evaluation_mode() -> None:
    network = Network(models.resnet18(num_classes=3))
    freeze(network, ["conv1", "bn1", "layer1*", "*.bias"])
    trained = {name for name, p in network.backbone.named_parameters() if p.requires_grad}
    assert not any(name.startswith(("conv1", "bn1", "layer1")) or name.endswith(".bias") for name in trained)
    assert {"layer2.0.conv1.weight", "layer2.0.bn1.weight", "fc.weight"} <= trained
    backbone: Any = network.backbone
    for _ in range(2):
        assert not backbone.bn1.training
        assert not backbone.layer1[0].bn1.training
        assert backbone.layer2[0].bn1.training
        assert network.eval().training is False
        network.train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    network(torch.rand(4, 3, 32, 32))
    moved = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert "layer2.0.bn1.running_mean" in moved
    assert not any(name.startswith(("bn1", "layer1")) for name in moved)


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        (["layer9"], r"freeze=\[layer9\]: no layer or parameter matches; did you mean layer"),
        (["*"], r"freeze=\[\*\]: leaves nothing to train"),
    ],
)
def test_impossible_patterns_are_one_line(patterns: list[str], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        freeze(Network(models.resnet18()), patterns)
