"""Any detector of torchvision, by its name, and any that is made like them, by its dotted path."""

import logging
from typing import Any
from urllib.error import URLError

import torchvision
from torch import nn
from torchvision.models import get_model_builder
from torchvision.models.detection.ssd import SSD

from distill.errors import SettingError, suggestion
from distill.models.custom import custom
from distill.models.detectors.single_stage import SingleStage
from distill.models.detectors.two_stage import TwoStage
from distill.models.preprocessing import Preprocessing, attach_preprocessing

log = logging.getLogger(__name__)

IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FIRST_STAGE = ("backbone", "head", "anchor_generator", "compute_loss", "postprocess_detections")
SECOND_STAGE = ("backbone", "rpn", "roi_heads")


def torchvision_detection(
    *,
    name: str | None = None,
    target: str | None = None,
    weights_backbone: str | None = None,
    arguments: dict[str, Any] | None = None,
    num_classes: int,
    in_channels: int = 3,
) -> nn.Module:
    """Build torchvision.models.detection.`name`, or what `target` makes, as a network with raw outputs.

    The detector's own resizing and normalisation are left out, as networks of this project normalise for themselves,
    and images come at the data's size.

    Args:
        name: retinanet_resnet50_fpn, fcos_resnet50_fpn, ssd300_vgg16, ssdlite320_mobilenet_v3_large,
            fasterrcnn_resnet50_fpn, ...
        target: dotted path of a class or function of one's own that makes such a detector, in place of a name.
        weights_backbone: of the layers below the heads, as torchvision calls them ("DEFAULT"); None: random.
        arguments: further keyword arguments of the detector, such as {"trainable_backbone_layers": 5}.
        num_classes: of the data; those that count the background get one more.

    Raises:
        SettingError: neither or both of name and target, an unknown name, arguments that don't fit, what is built is no
            such detector, or the download failed.
    """
    if (name is None) == (target is None):
        raise SettingError(f"name={name} and target={target}: give one of both")
    if in_channels != 3:
        raise SettingError(f"in_channels={in_channels}: torchvision's detectors take 3; channels=3 shows images as RGB")
    if target is not None:
        model = _own(target, arguments, num_classes)
    else:
        assert name is not None
        model = _published(name, weights_backbone, arguments, num_classes)
    detector = _wrapped(model, target or str(name), num_classes)
    untrained = {"weights_backbone": None}
    known = IMAGENET if weights_backbone else Preprocessing()
    size = _only_size(model)
    return attach_preprocessing(detector, Preprocessing(known.mean, known.std, size, untrained=untrained))


def _wrapped(model: nn.Module, what: str, num_classes: int) -> nn.Module:
    """The network around a detector, by the parts that it has."""
    if all(hasattr(model, part) for part in FIRST_STAGE):
        return SingleStage(model, num_classes)
    if all(hasattr(model, part) for part in SECOND_STAGE):
        return TwoStage(model, num_classes)
    raise SettingError(
        f"{what}: gave a {type(model).__name__}, which is no detector made like torchvision's: one of a single stage "
        f"has {', '.join(FIRST_STAGE)}, one of two {', '.join(SECOND_STAGE)}"
    )


def _published(
    name: str, weights_backbone: str | None, arguments: dict[str, Any] | None, num_classes: int
) -> nn.Module:
    names = torchvision.models.list_models(module=torchvision.models.detection)
    if name not in names:
        raise SettingError(f"name={name!r}: torchvision has no such detector{suggestion(name, names)}")
    builder = get_model_builder(name)
    counts_background = not name.startswith(("retinanet", "fcos"))
    given = {"weights": None, "weights_backbone": weights_backbone, "num_classes": num_classes + counts_background}
    try:
        model: nn.Module = builder(**given, **(arguments or {}))
    except (TypeError, ValueError, KeyError) as error:
        raise SettingError(f"name={name}: cannot be built of {given | (arguments or {})}: {error}") from error
    except URLError as error:
        raise SettingError(
            f"weights_backbone={weights_backbone!r}: the download failed ({error.reason}); connect to the network, or "
            "give checkpoint=FILE instead"
        ) from error
    return model


def _own(target: str, arguments: dict[str, Any] | None, num_classes: int) -> nn.Module:
    """What a function or class of the user's gives, asked again with the background counted where that is due."""
    options = {**(arguments or {})}
    model = custom(target=target, arguments=options, num_classes=num_classes)
    counts_background = isinstance(model, SSD) or all(hasattr(model, part) for part in SECOND_STAGE)
    if counts_background and "num_classes" not in options:
        return custom(target=target, arguments=options, num_classes=num_classes + 1)
    return model


def _only_size(model: nn.Module) -> int | None:
    """The side of the images that an SSD is made for; None for detectors that take any."""
    size = getattr(getattr(model, "transform", None), "fixed_size", None)
    return int(size[0]) if isinstance(model, SSD) and size else None
