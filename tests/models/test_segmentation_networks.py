"""Networks that name the class of each pixel: torchvision's and any backbone of timm."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from distill.data import ImageDataModule
from distill.data.digit_scenes import digit_scenes
from distill.errors import SettingError
from distill.methods import KD
from distill.models.network import Network
from distill.models.segmenter import segmenter
from distill.models.torchvision_segmentation import torchvision_segmentation
from distill.training.module import DistillModule

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def logits(network: Network) -> Tensor:
    with torch.no_grad():
        return network.eval()(IMAGES).logits


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_networks_of_torchvision_answer_as_they_do_there(name: str) -> None:
    network = Network(torchvision_segmentation(name=name, num_classes=5))
    found = logits(network)
    assert found.shape == (2, 5, 64, 96)
    assert network.eval()(IMAGES).auxiliary is None
    if name.startswith("deeplab"):
        theirs = deeplabv3_mobilenet_v3_large(num_classes=5, weights_backbone=None, aux_loss=True).eval()
        theirs.load_state_dict(network.backbone.state_dict())  # the same names
        with torch.no_grad():
            torch.testing.assert_close(found, theirs(IMAGES)["out"])
        network.train()
        auxiliary = network(IMAGES).auxiliary
        assert auxiliary is not None
        assert auxiliary.shape == found.shape


def test_grey_images_and_no_second_head() -> None:
    built = torchvision_segmentation(name="deeplabv3_mobilenet_v3_large", num_classes=3, in_channels=1, auxiliary=False)
    assert Network(built).train()(IMAGES[:, :1]).auxiliary is None
    assert not any("aux" in name for name in built.state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "deeplab_resnet50"}, "no such network; did you mean"),
        ({"name": "fcn_resnet50", "weights": "IMAGENET"}, "weights='IMAGENET': fcn_resnet50 offers DEFAULT, COCO"),
    ],
)
def test_what_torchvision_has_not_is_said(settings: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        torchvision_segmentation(num_classes=3, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_any_backbone_of_timm_gives_maps(backbone: str) -> None:
    pytest.importorskip("timm")
    arguments = {"img_size": [64, 96]} if "vit" in backbone else None
    network = Network(segmenter(backbone=backbone, width=8, num_classes=5, arguments=arguments))
    assert logits(network).shape == (2, 5, 64, 96)


def test_a_backbone_that_timm_has_not_is_said() -> None:
    pytest.importorskip("timm")
    with pytest.raises(SettingError, match="timm has no such model"):
        segmenter(backbone="resnet1", num_classes=3)


def test_the_second_head_learns_labels_with_half_their_weight() -> None:
    source = digit_scenes(train=4, val=2)
    build = {"num_classes": 11, "in_channels": 1, "name": "deeplabv3_mobilenet_v3_large"}
    student, teacher = (Network(torchvision_segmentation(**build)) for _ in range(2))  # type: ignore[arg-type]
    module = DistillModule(student, teacher, KD(label_weight=0.4), task=source.task)
    batch = next(iter(ImageDataModule(source, batch_size=4).train_dataloader()))
    outputs = student.train()(batch.inputs)
    assert outputs.auxiliary is not None
    terms = module.method(outputs, teacher(batch.inputs), batch)
    expected = F.cross_entropy(outputs.auxiliary, batch.targets)
    torch.testing.assert_close(terms["auxiliary_ce"], 0.2 * expected)
    terms.total().backward()
    assert all(p.grad is not None for p in student.parameters() if p.requires_grad)
