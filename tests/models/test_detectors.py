"""Detectors as networks: raw outputs, and from them the losses and boxes of torchvision's own training."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from distill.boxes import pack
from distill.errors import SettingError
from distill.models.detectors.gfl import gfl
from distill.models.detectors.torchvision_detection import torchvision_detection
from distill.models.network import Network

CLASSES = 2
OBJECTS = [[(4, 6, 30, 44, 0)], [(10, 10, 28, 30, 1), (30, 20, 60, 58, 0)], []]


def retinanet(num_classes: int) -> nn.Module:
    return detection.RetinaNet(resnet_fpn_backbone(backbone_name="resnet18", weights=None), num_classes)


def fcos(num_classes: int) -> nn.Module:
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    return detection.FCOS(backbone, num_classes)


def faster_rcnn(num_classes: int) -> nn.Module:
    return detection.FasterRCNN(resnet_fpn_backbone(backbone_name="resnet18", weights=None), num_classes)


class _AsTheyAre(nn.Module):
    """In place of torchvision's resizing and normalisation."""

    def forward(self, images: list[Tensor], targets: Any = None) -> tuple[ImageList, Any]:
        return ImageList(torch.stack(images), [image.shape[-2:] for image in images]), targets

    def postprocess(self, found: Any, *_: Any) -> Any:
        return found


@pytest.mark.parametrize("make", [retinanet, fcos, faster_rcnn, "ssdlite320_mobilenet_v3_large"])
def test_losses_and_boxes_are_those_of_torchvision(make: Any) -> None:
    torch.manual_seed(0)
    named = {"name": make} if isinstance(make, str) else {"target": f"{__name__}.{make.__name__}"}
    network = Network(torchvision_detection(**named, num_classes=CLASSES))
    model = network.backbone.model
    model.transform = _AsTheyAre()
    first = 0 if make in (retinanet, fcos) else 1  # the first class, behind a background where there is one
    images = torch.rand(3, 3, 64, 64)
    rows = [torch.tensor(boxes).reshape(-1, 5) for boxes in OBJECTS]
    targets = [{"boxes": row[:, :4].float(), "labels": row[:, 4].long() + first} for row in rows]
    for part in model.modules():  # whose statistics would move between the two passes
        if isinstance(part, nn.BatchNorm2d | nn.Dropout):
            part.eval()
    torch.manual_seed(1)
    expected = torch.stack([*model(list(images), targets).values()]).sum()
    torch.manual_seed(1)
    assert network(images).reading.label_loss(pack(OBJECTS)).item() == pytest.approx(expected.item(), rel=1e-5)
    network.eval()
    with torch.no_grad():
        theirs, ours = model(list(images)), network(images).answers()
    for rows, found in zip(ours, theirs, strict=True):
        there = rows[rows[:, 5] >= 0]
        assert torch.allclose(there[:, :4], found["boxes"], atol=1e-4)
        assert torch.equal(there[:, 4], found["scores"])
        assert torch.equal(there[:, 5].long(), found["labels"] - first)


def test_boxes_come_in_pixels_of_the_images_whatever_size_the_network_wants() -> None:
    torch.manual_seed(0)
    backbone = gfl(num_classes=CLASSES, width=4)
    plain, larger = Network(backbone).eval(), Network(backbone, size=64).eval()
    images = torch.rand(2, 3, 32, 32)
    shown = nn.functional.interpolate(images, (64, 64), mode="bilinear", antialias=True)
    assert torch.allclose(larger(images).answers()[..., :4], plain(shown).answers()[..., :4] / 2, atol=1e-4)
    half = pack([[(2, 3, 15, 22, 0)], []])
    whole = pack([[(4, 6, 30, 44, 0)], []])
    small, large = larger(images).reading.label_loss(half), plain(shown).reading.label_loss(whole)
    assert small.item() == pytest.approx(large.item(), rel=1e-4)


def test_gfl_learns_one_image() -> None:
    torch.manual_seed(0)
    network = Network(gfl(num_classes=CLASSES, width=4))
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    images, targets = torch.rand(1, 3, 64, 64), pack(OBJECTS[1:2])
    for _ in range(80):
        optimizer.zero_grad()
        network(images).reading.label_loss(targets).backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        found = network(images).answers()[0]
    best = {int(row[5]): row for row in found.flip(0) if row[5] >= 0}
    for box in OBJECTS[1]:
        assert best[box[4]][:4].tolist() == pytest.approx(box[:4], abs=3)


def test_gfl_is_indifferent_to_what_else_is_in_the_batch() -> None:
    torch.manual_seed(0)
    network = Network(gfl(num_classes=CLASSES, width=4))
    images = torch.rand(3, 3, 64, 64)
    assert torch.allclose(network(images).logits[1:2], network(images[1:2]).logits, atol=1e-5)
    assert network(images[2:]).reading.label_loss(pack([[]])).item() > 0  # nothing to find is learned too


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give one of both"),
        ({"name": "retinanet_resnet50"}, "torchvision has no such detector"),
        ({"name": "fcos_resnet50_fpn", "arguments": {"num_classes": 3}}, "cannot be built"),
        ({"target": "torch.nn.Identity"}, "no detector made like torchvision's"),
        ({"name": "ssd300_vgg16", "in_channels": 1}, "channels=3"),
    ],
)
def test_what_cannot_be_built_is_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        partial(torchvision_detection, num_classes=CLASSES)(**settings)
