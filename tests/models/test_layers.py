import io

import pytest
import torch
import torchvision
from rich.console import Console
from torch import Tensor, nn

from distill.models.layers import Layer, layers_table, list_layers, suggest_pairs
from distill.models.mobilenet import cifar_mobilenet_v2
from distill.models.resnet import cifar_resnet
from distill.models.vgg import cifar_vgg
from distill.models.wide_resnet import wide_resnet


def layers(network: nn.Module, size: int = 32) -> list[Layer]:
    return list_layers(network, torch.randn(2, 3, size, size))


def paths(student: list[Layer], teacher: list[Layer]) -> list[tuple[str, str]]:
    return [(one.path, other.path) for one, other in suggest_pairs(student, teacher)]


def grid(path: str, size: int) -> Layer:
    return Layer(path, "Conv2d", (4, size, size))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(6), nn.LayerNorm(6)
        self.heads = nn.Unflatten(2, (2, 3))

    def forward(self, x: Tensor) -> Tensor:
        self.heads(self.norm1(x)).transpose(1, 2)
        return x + self.norm2(x)


class Transformer(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 8, stride=8)
        self.blocks = nn.Sequential(*(Block() for _ in range(depth)))
        self.head = nn.Linear(6, 7)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.blocks(self.embed(x).flatten(2).transpose(1, 2)).mean(1))}


def test_layers_are_listed_as_they_finish_with_their_shapes() -> None:
    found = layers(cifar_resnet(depth=8, num_classes=7))
    shapes = {layer.path: layer.shape for layer in found}
    order = [layer.path for layer in found]
    assert shapes["stem.conv"] == (16, 32, 32)
    assert shapes["layer2.0.preact"] == (32, 16, 16)
    assert shapes["pool"] == (64,)
    assert order.index("layer2.0.bn2") < order.index("layer2.0") < order.index("layer2") < order.index("layer3.0.conv1")
    assert [layer.path for layer in found if layer.answers] == ["head"]
    assert {layer.kind for layer in found if layer.path == "layer2.0"} == {"BasicBlock"}


def test_looking_changes_nothing() -> None:
    network = cifar_resnet(depth=8, num_classes=7)
    network.get_submodule("layer1").eval()
    modes = {name: module.training for name, module in network.named_modules()}
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    layers(network)
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_hooks_go_away_when_the_network_fails() -> None:
    network = cifar_resnet(depth=8, num_classes=7)
    with pytest.raises(RuntimeError):
        list_layers(network, torch.randn(2, 1, 32, 32))
    assert not any(module._forward_hooks for module in network.modules())
    assert network.training


def test_a_layer_that_runs_twice_is_listed_where_it_ran_last_and_one_that_does_not_run_is_not() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu, self.pool, self.unused = nn.ReLU(), nn.MaxPool2d(2), nn.Linear(2, 2)
            self.words = Words()

        def forward(self, x: Tensor) -> tuple[Tensor, str]:
            x = self.relu(self.pool(self.relu(x)))
            return x.mean((2, 3)), self.words(x)

    class Words(nn.Module):
        def forward(self, x: Tensor) -> str:
            return "no tensor"

    assert [(layer.path, layer.shape) for layer in layers(Odd(), 8)] == [("pool", (3, 4, 4)), ("relu", (3, 4, 4))]


def test_stages_of_the_families_are_paired_by_resolution() -> None:
    small, large = cifar_resnet(depth=8, num_classes=7), cifar_resnet(depth=8, width=4, stem_width=32, num_classes=7)
    same = [(name, name) for name in ("layer1", "layer2", "layer3", "pool")]
    assert paths(layers(small), layers(large)) == same
    assert paths(layers(small), layers(wide_resnet(depth=10, width=2, num_classes=7))) == same
    mobile, vgg = layers(cifar_mobilenet_v2(num_classes=7)), layers(cifar_vgg(depth=8, num_classes=7))
    assert paths(mobile, vgg) == same
    assert paths(mobile, layers(small)) == [("layer1", "layer2"), ("layer2", "layer3"), ("pool", "pool")]


def test_without_a_shared_resolution_stages_are_paired_by_their_share_of_the_way() -> None:
    student = [grid("a", 32), grid("b", 16)]
    teacher = [grid("s", 48), grid("t", 24), grid("u", 12), grid("v", 6)]
    assert paths(student, teacher) == [("a", "t"), ("b", "v")]


def test_blocks_of_transformers_are_paired_by_their_share_of_the_way() -> None:
    found = paths(layers(Transformer(4)), layers(Transformer(8)))
    blocks = [(f"blocks.{i}", f"blocks.{2 * i + 1}") for i in range(4)]
    assert found == [("embed", "embed"), *blocks]
    assert len(paths(layers(Transformer(3)), layers(Transformer(12)))) == 4


def test_pairs_never_cross() -> None:
    student, teacher = [grid("a", 8), grid("b", 4)], [grid("x", 4), grid("y", 8)]
    assert paths(student, teacher) == [("a", "y")]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((64, 8, 8), "grid"),
        ((8, 8, 8), "grid"),
        ((8, 4, 6), "grid"),
        ((7, 7, 96), "grid, channels last"),
        ((197, 192), "sequence"),
        ((64,), "vector"),
        ((64, 1, 1), "vector"),
        ((), "vector"),
    ],
)
def test_where_the_values_of_a_layer_lie(shape: tuple[int, ...], kind: str) -> None:
    assert Layer("x", "Module", shape).resolution[0] == kind


def test_the_table_shows_pairs_in_one_row_and_everything_once() -> None:
    student, teacher = layers(cifar_mobilenet_v2(num_classes=7)), layers(cifar_resnet(depth=14, num_classes=7))
    out = io.StringIO()
    Console(file=out, width=120).print(layers_table(student, teacher))
    lines = out.getvalue().splitlines()
    (row,) = [line for line in lines if "layer1 " in line and "<->" in line]
    assert "layer2" in row
    assert "12 x 16 x 16" in row
    assert "32 x 16 x 16" in row
    for name in ("stem.conv", "layer3.0", "layer4.2", "neck.bn", "pool.1", "head"):
        assert sum(f" {name} " in line for line in lines) >= 1
    assert "layer3.0.expand" not in out.getvalue()


def test_the_table_shows_all_when_asked() -> None:
    student, teacher = layers(cifar_resnet(depth=8, num_classes=7)), layers(cifar_resnet(depth=14, num_classes=7))
    table = layers_table(student, teacher, depth=None)
    shown = [[cell for cell in table.columns[i].cells if cell] for i in (0, 3)]
    assert shown == [[layer.path for layer in student], [layer.path for layer in teacher]]


class SamePadding(nn.Conv2d):
    """A convolution that pads by a module of its own, as ports of EfficientNet do."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, stride=2)
        self.static_padding = nn.ZeroPad2d((0, 1, 0, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.static_padding(x))


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = SamePadding(3, 4), nn.BatchNorm2d(4)
        self.blocks = nn.ModuleList(
            nn.Sequential(SamePadding(4, 4), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)) for _ in range(2)
        )
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


def test_padding_stem_and_pooling_are_no_stages_and_networks_of_other_sizes_pair_by_stride() -> None:
    resnet = torchvision.models.resnet18(num_classes=7)
    student, teacher = layers(Padded(), 32), layers(resnet, 64)
    assert paths(student, teacher) == [("blocks.0", "layer1"), ("blocks.1", "layer2")]
    four = [(f"layer{i}", f"layer{i}") for i in (1, 2, 3, 4)]
    assert [pair for pair in paths(layers(resnet, 64), layers(resnet, 128)) if "pool" not in pair[0]] == four
