"""Frozen forms of networks: their answers, what is folded, taps, and networks that will not have it."""

import copy

import pytest
import torch
from torch import Tensor, nn

from distill.losses import kl_divergence
from distill.models.frozen import TOLERANCE, UNCHANGED, FrozenNetwork, freeze
from distill.models.network import Network
from distill.models.resnet import cifar_resnet


def trained(backbone: nn.Module) -> Network:
    """With statistics that have moved, and logits of a usual size."""
    torch.manual_seed(0)
    network = Network(backbone, name="n", mean=[0.5] * 3, std=[0.2] * 3)
    for _ in range(40):
        network(torch.rand(16, 3, 16, 16))
    return network.eval()


def resnet() -> Network:
    return trained(cifar_resnet(depth=8, width=1, stem_width=16, num_classes=10, in_channels=3))


IMAGES = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_answers_keep_the_tolerance_and_every_norm_behind_a_convolution_is_folded(
    precision: str, dtype: torch.dtype
) -> None:
    network = resnet()
    before = copy.deepcopy(network.state_dict())
    fast, form = freeze(network, IMAGES, precision)
    assert isinstance(fast, FrozenNetwork)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.backbone.modules())
    assert f"in {str(dtype)[6:]} with {norms} BatchNorms folded" in form
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.backbone.modules())
    assert {weight.dtype for weight in fast.backbone.parameters()} == {dtype}
    assert not any(weight.requires_grad for weight in fast.parameters())
    with torch.no_grad():
        own, others = network(IMAGES).logits, fast(IMAGES).logits
    assert others.dtype == dtype
    assert kl_divergence(others.float(), own) <= TOLERANCE[dtype][0]
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(weight.requires_grad for weight in network.parameters())


def test_autocast_does_not_change_a_frozen_network() -> None:
    fast, _ = freeze(resnet(), IMAGES, "32-true")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        inside = fast(IMAGES).logits
    with torch.no_grad():
        assert torch.equal(inside, fast(IMAGES).logits)


def test_taps_see_what_they_saw_also_between_a_convolution_and_its_norm() -> None:
    network = resnet()
    names = [
        name for name, module in network.backbone.named_modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    conv, norm = names[0], names[-1]
    stage = next(name for name, _ in network.backbone.named_children() if "stage" in name or "layer" in name)
    tapped = network.tap([conv, f"{norm}:input", stage])
    fast, form = freeze(network, IMAGES, "32-true")
    assert "BatchNorms folded" in form
    with torch.no_grad():
        own, others = network(IMAGES), fast(IMAGES)
    assert set(others.features) == set(tapped) == set(own.features)
    for name in tapped:
        torch.testing.assert_close(others.features[name], own.features[name], rtol=1e-4, atol=1e-4)
    fast(IMAGES)
    assert torch.equal(network(IMAGES).logits, own.logits)  # each has hooks of its own


class Twice(nn.Module):
    """A convolution whose output is used beside its normalisation, and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.again, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)
        x = x + self.norm(x).relu()
        x = self.second(self.again(self.again(x)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def test_what_cannot_be_folded_is_left_alone() -> None:
    network = trained(Twice())
    fast, form = freeze(network, IMAGES, "32-true")
    assert (fast is network) == (form == UNCHANGED)
    with torch.no_grad():
        torch.testing.assert_close(fast(IMAGES).logits, network(IMAGES).logits, rtol=1e-4, atol=1e-4)


class Offset(nn.Linear):
    """Logits whose differences are lost when they are rounded to 3 digits."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.mean((2, 3))) + 1000 * (self.bias * 0 + 1)


def test_half_precision_is_given_up_where_answers_would_change() -> None:
    fast, form = freeze(trained(Offset(3, 10)), IMAGES, "bf16-mixed")
    assert "float32" in form
    assert "bfloat16" not in form
    assert {weight.dtype for weight in fast.backbone.parameters()} == {torch.float32}


def test_other_dtypes_stay_and_float16_is_for_gpus() -> None:
    double = resnet().double()
    assert freeze(double, IMAGES.double(), "64-true") == (double, UNCHANGED)
    assert "in float32" in freeze(resnet(), IMAGES, "16-mixed")[1]


class Unwilling(nn.Linear):
    def __deepcopy__(self, memo: object) -> nn.Module:
        raise RuntimeError("there is one of me")


def test_a_network_that_cannot_be_copied_is_asked_as_it_is() -> None:
    network = trained(nn.Sequential(nn.Flatten(), Unwilling(3 * 16 * 16, 10)))
    assert freeze(network, IMAGES, "bf16-mixed") == (network, UNCHANGED)
