"""A network as the framework sees it: taps, what goes in, what comes out."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill import Network
from distill.errors import SettingError
from distill.models.logits import logits_of
from distill.models.resnet import cifar_resnet


def backbone() -> nn.Module:
    torch.manual_seed(0)
    block = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(3)]
    net = nn.Sequential()
    net.add_module("layer1", nn.Sequential(*block[:2]))
    net.add_module("layer2", nn.Sequential(block[2]))
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flat", nn.Flatten())
    net.add_module("head", nn.Linear(3, 4))
    return net


IMAGES = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------------------------------------------------- taps


@pytest.mark.parametrize(
    ("patterns", "paths"),
    [
        (["layer1"], ["layer1"]),
        (["layer2.0.1", "layer1"], ["layer2.0.1", "layer1"]),
        (["layer*"], ["layer1", "layer2"]),
        (["layer1.*"], ["layer1.0", "layer1.1"]),
        (["layer*.0.0"], ["layer1.0.0", "layer2.0.0"]),
        (["head", "*"], ["head", "layer1", "layer2", "pool", "flat"]),
        (["head:input"], ["head:input"]),
        (["layer*:input"], ["layer1:input", "layer2:input"]),
    ],
)
def test_patterns(patterns: list[str], paths: list[str]) -> None:
    network = Network(backbone())
    assert network.tap(patterns) == tuple(paths)
    assert set(network(IMAGES).features) == set(paths)


def test_a_tap_is_what_the_layer_gives_or_takes() -> None:
    network = Network(backbone())
    network.tap(["layer1", "layer2:input", "head:input", "head"])
    outputs = network(IMAGES)
    first = network.backbone.layer1(IMAGES)
    embedding = network.backbone.layer2(first).mean((2, 3))
    torch.testing.assert_close(outputs.features["layer1"], first)
    torch.testing.assert_close(outputs.features["layer2:input"], first)
    torch.testing.assert_close(outputs.features["head:input"], embedding)
    assert torch.equal(outputs.features["head"], outputs.logits)
    outputs.features["layer1"].sum().backward()
    assert network.backbone.layer1[0][0].weight.grad is not None


def test_tapping_twice_captures_once_and_nothing_is_kept() -> None:
    network = Network(backbone())
    assert network.tap(["head"]) == network.tap(["head"])
    assert sum(len(m._forward_hooks) for m in network.modules()) == 1
    assert not Network(backbone())(IMAGES).features
    network(IMAGES)
    assert all(held.numel() == 0 for held in network._captured.values())


class InPlace(nn.Module):
    """A residual block that works in place like torchvision's; in training, its dropout does too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.drop = nn.Dropout(0.5, inplace=True)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.drop(self.first(x)))
        y += x
        out: Tensor = self.relu(y).mean((2, 3))
        return out


@pytest.mark.parametrize("training", [False, True])
def test_a_tap_keeps_what_a_later_layer_writes_over(training: bool) -> None:
    torch.manual_seed(0)
    network = Network(InPlace())
    network.tap(["first", "second", "relu:input", "relu"])
    network.eval()(IMAGES)  # whether it is written over differs between the modes
    network.train(training)
    first = network.backbone.first(IMAGES)
    for _ in range(2):
        torch.manual_seed(1)
        features = network(IMAGES).features
        torch.manual_seed(1)
        second = network.backbone.second(F.dropout(first, 0.5, training))
        torch.testing.assert_close(features["first"], first)
        torch.testing.assert_close(features["second"], second)
        torch.testing.assert_close(features["relu:input"], second + IMAGES)
        torch.testing.assert_close(features["relu"], (second + IMAGES).relu())
    features["second"].square().sum().backward()
    assert network.backbone.get_parameter("first.weight").grad is not None


def test_a_pattern_that_matches_nothing_is_named_with_a_likely_one() -> None:
    with pytest.raises(SettingError, match=r"no layer matches 'layer3'; did you mean layer[12]?"):
        Network(backbone()).tap(["layer3"])
    with pytest.raises(SettingError, match=r"no layer matches 'layer1\.\*\.7'"):
        Network(backbone()).tap(["layer1.*.7"])


def test_around_keeps_the_preparation() -> None:
    network = Network(backbone(), name="mine", mean=[0.5] * 3, std=[0.2] * 3)
    assert network.around(network.backbone) is network
    other = network.around(nn.Sequential(network.backbone, nn.ReLU()))
    assert other.name == "mine"
    torch.testing.assert_close(other(IMAGES).logits, network(IMAGES).logits.relu())


# ------------------------------------------------------------------------------------------------- what comes out


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda logits: logits,
        lambda logits: (logits, "auxiliary"),
        lambda logits: [logits],
        lambda logits: {"aux": torch.zeros(1), "logits": logits},
        lambda logits: {"out": logits, "aux": torch.zeros(1)},
        lambda logits: SimpleNamespace(logits=logits, hidden=None),
        lambda logits: ((logits,), 3),
    ],
    ids=["tensor", "tuple", "list", "dict", "first of dict", "object", "nested"],
)
def test_logits_are_found_in_whatever_a_model_returns(wrapped: Any) -> None:
    class Model(nn.Module):
        def forward(self, images: Tensor) -> Any:
            return wrapped(images.mean((2, 3)))

    assert torch.equal(Network(Model())(IMAGES).logits, IMAGES.mean((2, 3)))


@pytest.mark.parametrize("output", [None, "text", (), {}, SimpleNamespace(logits=3)])
def test_an_answer_without_logits_is_an_error(output: Any) -> None:
    with pytest.raises(TypeError, match=f"the model returned {type(output).__name__}, in which no logits were found"):
        logits_of(output)


# ---------------------------------------------------------------------------------------------------- what goes in


class Seen(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        self.images = images
        return images.flatten(1)


def test_images_are_normalised_and_resized_for_the_network() -> None:
    network = Network(Seen(), mean=[0.1, 0.2, 0.3], std=[0.5, 1.0, 2.0], size=4)
    network(IMAGES)
    scaled = F.interpolate(IMAGES, (4, 4), mode="bilinear", antialias=True)
    expected = torch.stack([(scaled[:, c] - m) / s for c, (m, s) in enumerate(((0.1, 0.5), (0.2, 1), (0.3, 2)))], 1)
    torch.testing.assert_close(network.backbone.images, expected)


def test_without_settings_images_stay_as_they_are() -> None:
    network = Network(Seen(), size=6)
    network(IMAGES)
    assert network.backbone.images is IMAGES


def test_bytes_mean_what_floats_mean() -> None:
    network = Network(Seen(), mean=[0.5] * 3, std=[0.25] * 3)
    as_bytes = (IMAGES * 255).round().to(torch.uint8)
    from_bytes, from_floats = network(as_bytes).logits, network(as_bytes.float() / 255).logits
    assert torch.equal(from_bytes, from_floats)


def test_statistics_follow_the_network_but_are_no_weights() -> None:
    network = Network(backbone(), mean=[0.5] * 3, std=[0.25] * 3)
    assert set(network.state_dict()) == {f"backbone.{name}" for name in backbone().state_dict()}
    assert network.double()(IMAGES.double()).logits.dtype == torch.float64


def test_half_of_the_statistics_is_an_error() -> None:
    with pytest.raises(SettingError, match=r"mean=\[0\.5\] and std=None: give both or neither"):
        Network(backbone(), mean=[0.5])
    with pytest.raises(SettingError, match=r"std=\[0\.0\]: every value must be above 0"):
        Network(backbone(), mean=[0.5], std=[0.0])


def test_taps_survive_torch_compile() -> None:
    network = Network(cifar_resnet(depth=8, num_classes=10)).eval()
    names = network.tap(["layer*", "head:input"])
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = network(images)
    compiled = torch.compile(network, backend="aot_eager")
    for _ in range(2):
        outputs = compiled(images)
        assert tuple(outputs.features) == names
        for name in names:
            torch.testing.assert_close(outputs.features[name], plain.features[name])
