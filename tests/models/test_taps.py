"""Words for layers, on two families of networks."""

import pytest
import torch
from torch import Tensor, nn

from distill import Network
from distill.errors import SettingError
from distill.models import taps
from distill.models.cnn import cnn
from distill.models.resnet import cifar_resnet
from distill.models.vgg import cifar_vgg

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def resnet(depth: int) -> Network:
    return Network(cifar_resnet(depth=depth, num_classes=10))


def resolve(words: list[str], student: Network, teacher: Network) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return taps.resolve(words, words, student, teacher, IMAGES)


def test_words_within_a_family() -> None:
    student, teacher = resnet(8), resnet(14)
    layers = ("layer1", "layer2", "layer3")
    assert resolve(["stages"], student, teacher) == (layers, layers)
    assert resolve(["last_stage"], student, teacher) == (("layer3",), ("layer3",))
    assert resolve(["embedding"], student, teacher) == (("head:input",), ("head:input",))


def test_words_across_families_give_maps_of_the_same_resolution() -> None:
    student, teacher = resnet(8), Network(cifar_vgg(depth=8, num_classes=10))
    mine, theirs = resolve(["stages", "embedding"], student, teacher)
    assert mine[-1] == "head:input"
    assert len(mine) == len(theirs) >= 3
    student.tap(mine)
    teacher.tap(theirs)
    ours, other = student(IMAGES).features, teacher(IMAGES).features
    sizes = [(ours[a].shape[2:], other[b].shape[2:]) for a, b in zip(mine[:-1], theirs[:-1], strict=True)]
    assert all(a == b for a, b in sizes)
    assert len(set(sizes)) == len(sizes)
    assert ours[mine[-1]].ndim == other[theirs[-1]].ndim == 2


def test_paths_and_patterns_stay_and_need_no_pass() -> None:
    class Unasked(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise AssertionError("no word was given")

    network = Network(Unasked())
    assert taps.resolve(["a.*", "b"], ["c:input"], network, network, IMAGES) == (("a.*", "b"), ("c:input",))
    mixed = taps.resolve(["stem", "last_stage"], ["stem", "last_stage"], resnet(8), resnet(8), IMAGES)
    assert mixed == (("stem", "layer3"),) * 2


def test_a_network_without_stages_or_classifier_is_named() -> None:
    class Flat(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :10] * 2

    flat = Network(Flat(), name="flat")
    with pytest.raises(SettingError, match="no stages were found; name layers by their paths instead of 'last_stage'"):
        resolve(["last_stage"], flat, flat)
    with pytest.raises(SettingError, match=r"flat: its last layer is no linear layer; .* instead of 'embedding'"):
        resolve(["embedding"], resnet(8), flat)


def test_the_classifier_is_a_frozen_copy() -> None:
    network = Network(cnn(num_classes=10, width=4), mean=[0.5] * 3, std=[0.2] * 3)
    copy = taps.classifier(network, IMAGES)
    assert copy is not None
    assert copy is not network.backbone.head
    assert not any(p.requires_grad for p in copy.parameters())
    network.tap(["head:input"])
    outputs = network(IMAGES)
    assert torch.equal(copy(outputs.features["head:input"]), outputs.logits)

    class Flat(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :10] * 2

    assert taps.classifier(Network(Flat()), IMAGES) is None
