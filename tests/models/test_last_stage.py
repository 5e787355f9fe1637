"""From words to layers."""

from functools import partial

import pytest
import torch
from torch import nn

from distill.models import taps
from distill.models.cnn import cnn
from distill.models.mobilenet import cifar_mobilenet_v2
from distill.models.network import Network
from distill.models.resnet import cifar_resnet
from distill.models.wide_resnet import wide_resnet

FAMILIES = {
    "cnn": partial(cnn, width=2),
    "resnet": partial(cifar_resnet, depth=8),
    "wide_resnet": partial(wide_resnet, depth=10, width=1),
    "mobilenet": cifar_mobilenet_v2,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_stage_is_what_the_classifier_sees_averaged(family: str) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 32, 32)
    teacher = Network(FAMILIES[family](num_classes=5, in_channels=3)).eval()
    student = Network(FAMILIES["resnet"](num_classes=5, in_channels=3))
    _, [layer] = taps.resolve(["last_stage"], ["last_stage"], student, teacher, images)
    [layer] = teacher.tap([layer])
    outputs = teacher(images)
    classifier = taps.classifier(teacher, images)
    assert isinstance(classifier, nn.Linear)
    torch.testing.assert_close(classifier(outputs.features[layer].mean((2, 3))), outputs.logits)
