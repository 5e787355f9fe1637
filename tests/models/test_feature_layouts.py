"""How features lie: maps with the channels last and tokens with others before their grid are read as what they are."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn
from torchvision.models import swin_t, vit_b_16

from distill.methods import AT, FitNet
from distill.methods.projection import as_map
from distill.models.cnn import cnn
from distill.models.feature_layouts import feature_layouts
from distill.models.network import Network
from distill.models.taps import find_layouts
from distill.teachers.record import averaged
from distill.training.module import DistillModule
from distill.types import FeatureLayout

LAST, TOKENS = FeatureLayout("channels-last map"), FeatureLayout("tokens", (2, 2))
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, tuple[int, int], FeatureLayout]] = {
    "torchvision's Swin": (lambda: swin_t(num_classes=4), "features.1", (64, 96), LAST),
    "its last map of four": (lambda: swin_t(num_classes=4), "features.7", (64, 64), LAST),
    "timm's Swin": (
        lambda: timm.create_model("swin_tiny_patch4_window7_224", img_size=64, window_size=2, num_classes=4),
        "layers.1",
        (64, 64),
        LAST,
    ),
    "a class token": (
        lambda: vit_b_16(image_size=32, num_classes=4),
        "encoder.layers.encoder_layer_3",
        (32, 32),
        TOKENS,
    ),
    "two tokens": (
        lambda: timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, num_classes=4),
        "blocks.3",
        (32, 32),
        TOKENS,
    ),
    "five tokens before four": (
        lambda: timm.create_model("vit_small_patch16_224", img_size=32, reg_tokens=4, num_classes=4),
        "blocks.3",
        (32, 32),
        TOKENS,
    ),
    "a map": (lambda: cnn(num_classes=4, in_channels=3, width=4), "layer2", (16, 16), FeatureLayout("map")),
}


@pytest.mark.parametrize(("make", "layer", "size", "expected"), NETWORKS.values(), ids=NETWORKS.keys())
def test_networks_know_how_their_features_lie(
    make: Callable[[], nn.Module], layer: str, size: tuple[int, int], expected: FeatureLayout
) -> None:
    network = Network(make()).eval()
    network.tap([layer])
    images = torch.rand(2, 3, *size)
    find_layouts(network, images)
    outputs = network(images)
    assert outputs.layouts == {layer: expected}
    feature = outputs.features[layer]
    found = as_map(feature, layer, expected)
    if expected.kind == "channels-last map":
        assert torch.equal(found, feature.permute(0, 3, 1, 2))
        torch.testing.assert_close(averaged(feature, expected), feature.mean((1, 2)))
    elif expected.kind == "tokens":
        assert torch.equal(found.flatten(2), feature[:, -4:].mT)
    else:
        assert found is feature


@pytest.mark.parametrize(
    ("shapes", "image", "kinds"),
    [
        ([(16, 16, 96)], (64, 64), ["channels-last map"]),
        ([(96, 16, 16)], (64, 64), ["map"]),
        ([(8, 8, 8)], (32, 32), ["map"]),
        ([(8, 8, 24), (8, 8, 8)], (32, 32), ["channels-last map", "channels-last map"]),
        ([(12, 8, 96), (96, 12, 8)], (48, 32), ["channels-last map", "map"]),
        ([(8, 8, 4)], (32, 16), ["map"]),  # eight channels of 8 x 4
        ([(64,), ()], None, ["vector", "vector"]),
    ],
)
def test_the_rule(shapes: list[tuple[int, ...]], image: tuple[int, int] | None, kinds: list[str]) -> None:
    assert [layout.kind for layout in feature_layouts(shapes, image)] == kinds


def test_a_grid_is_that_of_the_last_map_of_as_many_channels() -> None:
    shapes = [(32, 8, 8), (64, 4, 4), (17, 64), (65, 32), (9, 64), (30, 64)]
    found = feature_layouts(shapes, (32, 32))
    assert [layout.grid for layout in found[2:]] == [(4, 4), (8, 8), None, None]  # too few tokens, and too many


@pytest.mark.filterwarnings("ignore:.*self.trainer")
@pytest.mark.parametrize("method", [AT, FitNet])
def test_a_teacher_with_the_channels_last_teaches_as_one_with_them_first(method: type[AT] | type[FitNet]) -> None:
    class Turned(nn.Module):
        """Channels first."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.head = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 4)
            self.last: nn.Module = nn.Identity()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.last(self.first(images)).mean((2, 3)))
            return logits

    class Last(Turned):
        """The same with the channels last within `last`."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.last(self.first(images).permute(0, 2, 3, 1)).mean((1, 2)))
            return logits

    images, losses = torch.rand(4, 3, 16, 24, generator=torch.Generator().manual_seed(1)), []
    for teacher in (Turned(), Last()):
        torch.manual_seed(2)
        student = Network(cnn(num_classes=4, in_channels=3, width=4))
        module = DistillModule(
            student, Network(teacher), method(student_layers=["layer2"], teacher_layers=["last"]), example=images
        )
        losses.append(module.training_step((images, torch.arange(4)), 0))
    torch.testing.assert_close(*losses)
