"""Networks that name the class of each pixel: a backbone that gives maps of several sizes, and a small head."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from distill.errors import SettingError
from distill.models.preprocessing import Preprocessing, attach_preprocessing, averaged, of_timm
from distill.models.timm_models import check_name, import_timm

FINEST = 4  # the smallest stride whose maps the head takes


class MapHead(nn.Module):
    """Brings maps of several sizes together at the largest of them, and classes at each of its positions.

    Each map goes through a 1x1 convolution to `width` channels and is added to the next larger one, as in a feature
    pyramid (1612.03144); a 3x3 convolution, a GroupNorm and the classifier, a 1x1 convolution, follow.

    Args:
        channels: of the maps, the largest map first.
        width: channels inside.
        num_classes: of the logits.
    """

    def __init__(self, channels: Sequence[int], width: int, num_classes: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.fuse = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(math.gcd(width, 8), width), nn.ReLU()
        )
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, channels[i], h_i, w_i) maps to (N, classes, h_0, w_0) logits."""
        narrow = [convolve(feature) for convolve, feature in zip(self.lateral, maps, strict=True)]
        total = narrow[-1]
        for feature in narrow[-2::-1]:
            total = feature + F.interpolate(total, feature.shape[2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.classifier(self.fuse(total))
        return logits


class Segmenter(nn.Module):
    """A backbone and a head.

    Args:
        backbone: maps images to a sequence of maps, the largest first.
        head: maps these to logits.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, classes, h, w) logits, at the size of the backbone's largest map."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


def segmenter(
    *,
    backbone: str,
    pretrained: bool = False,
    width: int = 128,
    arguments: dict[str, Any] | None = None,
    num_classes: int,
    in_channels: int = 3,
) -> nn.Module:
    """Any backbone of timm under a `MapHead`.

    Args:
        backbone: its name in timm: resnet18, convnext_tiny, vit_tiny_patch16_224, ...
        pretrained: with the weights that timm has of it; the head's are random.
        width: channels inside the head.
        arguments: further keyword arguments of timm.create_model, such as {"img_size": [180, 240]}.
        num_classes, in_channels: of the data.

    Raises:
        SettingError: timm is not installed, the name is unknown, there are no weights, or it gives no maps.
    """
    timm = import_timm()
    check_name(timm, backbone, pretrained=pretrained)
    options = {"pretrained": pretrained, "in_chans": in_channels, "features_only": True, **(arguments or {})}
    try:
        network = timm.create_model(backbone, **options)
    except (TypeError, RuntimeError, AttributeError, OSError, AssertionError) as error:
        raise SettingError(
            f"backbone={backbone}: timm cannot build it for maps with pretrained={pretrained}, "
            f"arguments={arguments}: {error}"
        ) from error
    kept = [place for place, stride in enumerate(network.feature_info.reduction()) if stride >= FINEST]
    channels = [network.feature_info.channels()[place] for place in kept]
    module = Segmenter(_Kept(network, kept), MapHead(channels, width, num_classes))
    known = of_timm(getattr(network, "pretrained_cfg", None) or {})
    expected = averaged(replace(known, size=None, classes=None), in_channels) if pretrained else Preprocessing()
    return attach_preprocessing(module, replace(expected, untrained={"pretrained": False}))


class _Kept(nn.Module):
    """Some of a backbone's maps, turned so that channels come first."""

    def __init__(self, body: nn.Module, kept: Sequence[int]) -> None:
        super().__init__()
        self.body, self.kept = body, list(kept)
        formats = getattr(body, "output_fmt", "NCHW")
        self.turned = str(getattr(formats, "value", formats)) == "NHWC"

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) to maps, the largest first."""
        maps = self.body(images)
        chosen = [maps[place] for place in self.kept]
        return [feature.permute(0, 3, 1, 2).contiguous() for feature in chosen] if self.turned else chosen
