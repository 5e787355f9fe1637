from collections.abc import Callable

import pytest
import torch
from torch import nn

from distill.models.mobilenet import cifar_mobilenet_v2
from distill.models.resnet import cifar_resnet
from distill.models.shufflenet import ChannelShuffle, cifar_shufflenet_v1, cifar_shufflenet_v2
from distill.models.vgg import cifar_vgg
from distill.models.wide_resnet import wide_resnet

Builder = Callable[..., nn.Module]

# Name: builder, its settings, parameters for 100 classes and 3 channels, sizes of the stages for 32x32 images.
# The counts are those of the published CIFAR-100 tables: 2.26 M for wrn_40_2, 0.81 M for MobileNetV2, ...
RESNET, WRN = [(16, 32), (32, 16), (64, 8)], [(16, 32), (32, 16), (64, 8)]
VGG = [(128, 16), (256, 8), (512, 4), (512, 4)]
NETWORKS: dict[str, tuple[Builder, dict[str, int], int, list[tuple[int, int]]]] = {
    "resnet8": (cifar_resnet, {"depth": 8}, 83_892, RESNET),
    "resnet14": (cifar_resnet, {"depth": 14}, 181_108, RESNET),
    "resnet20": (cifar_resnet, {"depth": 20}, 278_324, RESNET),
    "resnet32": (cifar_resnet, {"depth": 32}, 472_756, RESNET),
    "resnet44": (cifar_resnet, {"depth": 44}, 667_188, RESNET),
    "resnet56": (cifar_resnet, {"depth": 56}, 861_620, RESNET),
    "resnet110": (cifar_resnet, {"depth": 110}, 1_736_564, RESNET),
    "resnet8x4": (cifar_resnet, {"depth": 8, "width": 4, "stem_width": 32}, 1_233_540, [(64, 32), (128, 16), (256, 8)]),
    "resnet32x4": (
        cifar_resnet,
        {"depth": 32, "width": 4, "stem_width": 32},
        7_433_860,
        [(64, 32), (128, 16), (256, 8)],
    ),
    "wrn_16_1": (wide_resnet, {"depth": 16, "width": 1}, 180_916, WRN),
    "wrn_16_2": (wide_resnet, {"depth": 16, "width": 2}, 703_284, [(32, 32), (64, 16), (128, 8)]),
    "wrn_40_1": (wide_resnet, {"depth": 40, "width": 1}, 569_780, WRN),
    "wrn_40_2": (wide_resnet, {"depth": 40, "width": 2}, 2_255_156, [(32, 32), (64, 16), (128, 8)]),
    "vgg8": (cifar_vgg, {"depth": 8}, 3_965_028, VGG),
    "vgg11": (cifar_vgg, {"depth": 11}, 9_277_284, VGG),
    "vgg13": (cifar_vgg, {"depth": 13}, 9_462_180, VGG),
    "vgg16": (cifar_vgg, {"depth": 16}, 14_774_436, VGG),
    "vgg19": (cifar_vgg, {"depth": 19}, 20_086_692, VGG),
    "mobilenetv2": (cifar_mobilenet_v2, {}, 812_836, [(12, 16), (16, 8), (48, 4), (160, 2)]),
    "shufflenetv1": (cifar_shufflenet_v1, {}, 949_258, [(240, 16), (480, 8), (960, 4)]),
    "shufflenetv2": (cifar_shufflenet_v2, {}, 1_355_528, [(116, 16), (232, 8), (464, 4)]),
}
CASES = [pytest.param(*case, id=name) for name, case in NETWORKS.items()]
FAMILIES = ["resnet8", "resnet8x4", "wrn_16_2", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2"]


def build(name: str, **settings: int) -> nn.Module:
    builder, own, _, _ = NETWORKS[name]
    return builder(**{"num_classes": 7, **own, **settings})


@pytest.mark.parametrize(("builder", "settings", "parameters", "stages"), CASES)
def test_counts_and_stages(
    builder: Builder, settings: dict[str, int], parameters: int, stages: list[tuple[int, int]]
) -> None:
    network = builder(**settings, num_classes=100).eval()
    assert sum(p.numel() for p in network.parameters()) == parameters
    x, shapes = torch.randn(2, 3, 32, 32), {}
    with torch.no_grad():
        for name, part in network.named_children():
            x = part(x)
            shapes[name] = tuple(x.shape[1:])
    layers = {f"layer{i}": (c, size, size) for i, (c, size) in enumerate(stages, start=1)}
    assert {name: shape for name, shape in shapes.items() if name.startswith("layer")} == layers
    assert list(shapes) in (["stem", *layers, "pool", "head"], ["stem", *layers, "neck", "pool", "head"])
    assert len(shapes["pool"]) == 1
    assert shapes["head"] == (100,)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("channels", [1, 2])
def test_other_numbers_of_channels_cost_only_in_the_first_convolution(name: str, channels: int) -> None:
    three, other = (build(name, in_channels=n) for n in (3, channels))
    assert other(torch.randn(2, channels, 32, 32)).shape == (2, 7)
    changed = {k for k, t in other.state_dict().items() if t.shape != three.state_dict()[k].shape}
    assert len(changed) == 1
    assert changed.pop().startswith("stem.")
    assert all(tensor.numel() for tensor in other.state_dict().values())


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_reach_every_parameter(name: str) -> None:
    network = build(name)
    network(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    still = [n for n, p in network.named_parameters() if p.grad is not None and not p.grad.any()]
    assert [n for n in still if not n.endswith("conv.bias")] == []  # BatchNorm takes those of VGG away again


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_changes_what_a_layer_said(name: str) -> None:
    network, said = build(name), []

    def hook(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        said.append((output, output.detach().clone()))

    for module in network.modules():
        module.register_forward_hook(hook)
    network(torch.randn(2, 3, 32, 32))
    assert len(said) > 10
    assert all(torch.equal(output, copy) for output, copy in said)


@pytest.mark.parametrize("name", FAMILIES)
def test_signals_neither_die_nor_explode_at_the_start(name: str) -> None:
    torch.manual_seed(0)
    logits = build(name)(torch.randn(32, 3, 32, 32))
    assert 1e-3 < logits.std(0).mean() < 10


def test_the_pre_activation_of_a_block_can_be_tapped() -> None:
    for network in (build("resnet8"), build("shufflenetv1")):
        block, said = network.get_submodule("layer2.0"), []
        block.get_submodule("preact").register_forward_hook(lambda _m, _i, out, said=said: said.append(out))
        block.register_forward_hook(lambda _m, _i, out, said=said: said.append(out))
        network(torch.randn(2, 3, 32, 32))
        assert said[0].min() < 0
        assert torch.equal(said[0].relu(), said[1])


def test_vgg_halves_images_of_64_pixels_once_more() -> None:
    network = cifar_vgg(depth=8, num_classes=7, image_size=64)
    body = nn.Sequential(*list(network.children())[:-2])
    assert body(torch.randn(2, 3, 64, 64)).shape == (2, 512, 4, 4)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in build("vgg8").parameters())


def test_wide_resnet_drops_only_in_training() -> None:
    network, x = wide_resnet(depth=16, width=1, dropout=0.5, num_classes=7), torch.randn(2, 3, 32, 32)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_channels_are_dealt_out_like_cards() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert ChannelShuffle(3)(x).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert ChannelShuffle(2)(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("width", [0.5, 1.5, 2.0])
def test_other_sizes_of_shufflenet_v2_work(width: float) -> None:
    assert cifar_shufflenet_v2(width=width, num_classes=7)(torch.randn(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("groups", [1, 2])
def test_other_groups_of_shufflenet_v1_work(groups: int) -> None:
    assert cifar_shufflenet_v1(groups=groups, num_classes=7)(torch.randn(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(
    ("builder", "settings", "words"),
    [
        (cifar_resnet, {"depth": 21}, "depth=21: must be 6n \\+ 2"),
        (cifar_resnet, {"depth": 2}, "depth=2: must be 6n \\+ 2"),
        (cifar_resnet, {"depth": 20, "width": 0}, "width=0: must be at least 1"),
        (cifar_resnet, {"depth": 20, "num_classes": 0}, "num_classes=0: must be at least 1"),
        (wide_resnet, {"depth": 20, "width": 2}, "depth=20: must be 6n \\+ 4"),
        (wide_resnet, {"depth": 16, "width": 2, "dropout": 1.0}, "dropout=1.0: must be"),
        (cifar_vgg, {"depth": 12}, "depth=12: must be one of 8, 11, 13, 16, 19"),
        (cifar_vgg, {"depth": 8, "image_size": 4}, "image_size=4: .*8 or more"),
        (cifar_mobilenet_v2, {"width": 0.01}, "width=0.01: must be at least 0.0625"),
        (cifar_mobilenet_v2, {"expansion": 0}, "expansion=0: must be at least 1"),
        (cifar_shufflenet_v1, {"groups": 4}, "groups=4: must be one of 1, 2, 3"),
        (cifar_shufflenet_v2, {"width": 3.0}, "width=3.0: must be one of 0.5, 1, 1.5, 2"),
        (cifar_shufflenet_v2, {"in_channels": 0}, "in_channels=0: must be at least 1"),
    ],
)
def test_bad_settings_are_named(builder: Builder, settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        builder(**{"num_classes": 7, **settings})
