"""Any network of torchvision that names the class of each pixel, by its name."""

import logging
from dataclasses import replace
from typing import Any
from urllib.error import URLError

import torchvision
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_builder
from torchvision.models.segmentation import LRASPP

from distill.errors import SettingError, suggestion
from distill.models.heads import resized
from distill.models.preprocessing import Preprocessing, attach_preprocessing, averaged
from distill.models.torchvision_models import find_weights, fit_channels

log = logging.getLogger(__name__)


class TorchvisionSegmenter(nn.Module):
    """A network of torchvision, whose logits stay at the size that it works at, in training with its auxiliary head's.

    Its parts have the names that they have in torchvision, so that files of weights fit.

    Args:
        network: an FCN, a DeepLabV3 or an LRASPP.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.backbone = network.get_submodule("backbone")
        self.classifier = network.get_submodule("classifier")
        self.aux_classifier: nn.Module | None = getattr(network, "aux_classifier", None)
        self.takes_all = isinstance(network, LRASPP)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """(N, C, H, W) to (N, classes, h, w) logits; in training with an auxiliary head also its, as 'auxiliary'."""
        features = self.backbone(images)
        logits: Tensor = self.classifier(features if self.takes_all else features["out"])
        if self.aux_classifier is None or not self.training:
            return logits
        return {"logits": logits, "auxiliary": self.aux_classifier(features["aux"])}


def torchvision_segmentation(
    *,
    name: str,
    weights: str | None = None,
    auxiliary: bool = True,
    num_classes: int,
    in_channels: int = 3,
    own_head: bool = False,
) -> nn.Module:
    """Build torchvision.models.segmentation.`name`, with random weights or those it offers.

    Weights for another number of classes get fresh last layers, weights for three channels are averaged into other
    numbers of channels; both are said in the log.

    Args:
        name: fcn_resnet50, deeplabv3_mobilenet_v3_large, lraspp_mobilenet_v3_large, ...
        weights: "DEFAULT", "COCO_WITH_VOC_LABELS_V1"; None: random.
        auxiliary: train a second head beside, in the middle of the backbone; LRASPP has none.
        num_classes, in_channels: of the data.
        own_head: weights keep their own classes, whatever num_classes is.

    Raises:
        SettingError: the name or the weights are unknown, or the download failed.
    """
    names = torchvision.models.list_models(module=torchvision.models.segmentation)
    if name not in names:
        raise SettingError(f"name={name!r}: torchvision has no such network{suggestion(name, names)}")
    chosen = find_weights(name, weights)
    module = TorchvisionSegmenter(_built(name, chosen, auxiliary, num_classes))
    known = 0 if chosen is None else len(chosen.meta["categories"])
    if chosen is not None and not own_head:
        _fit_heads(module, name, known, num_classes)
    if in_channels != 3:
        fit_channels(module, name, in_channels, pretrained=chosen is not None)
    trained = chosen is not None and (own_head or known == num_classes)
    expected = Preprocessing() if chosen is None else averaged(_of_weights(chosen), in_channels)
    return attach_preprocessing(module, replace(expected, trained=trained, untrained={"weights": None}))


def _built(name: str, weights: WeightsEnum | None, auxiliary: bool, num_classes: int) -> nn.Module:
    options: dict[str, Any] = {} if name.startswith("lraspp") else {"aux_loss": auxiliary}
    if weights is None:
        options |= {"num_classes": num_classes, "weights_backbone": None}
    elif not auxiliary:
        options.pop("aux_loss", None)  # weights have the head; it is left out afterwards
    try:
        network: nn.Module = get_model_builder(name)(weights=weights, **options)
    except URLError as error:
        raise SettingError(
            f"weights={weights!r}: downloading them failed ({error.reason}); connect to the network, or give "
            "checkpoint=FILE instead of weights"
        ) from error
    if not auxiliary and hasattr(network, "aux_classifier"):
        del network.aux_classifier
    return network


def _fit_heads(module: nn.Module, name: str, classes: int, num_classes: int) -> None:
    """Give the layers that answer other numbers of outputs, with random weights."""
    if classes == num_classes:
        return
    for part in ("classifier", "aux_classifier"):
        for path, layer in [*module.named_modules()]:
            answers = path.startswith(f"{part}.") and getattr(layer, "out_channels", None) == classes
            head = resized(layer, num_classes) if answers else None
            if head is not None:
                module.set_submodule(path, head)
    log.warning(
        "%s: its weights know %d classes, the data has %d: its last layers start from random weights",
        name, classes, num_classes,
    )  # fmt: skip


def _of_weights(weights: WeightsEnum) -> Preprocessing:
    preset = weights.transforms()
    return Preprocessing(tuple(preset.mean), tuple(preset.std), classes=tuple(weights.meta["categories"]))
