"""Any classifier of torchvision, by its name."""

import logging
from dataclasses import replace
from typing import Any
from urllib.error import URLError

import torchvision
from torch import nn
from torchvision.models import WeightsEnum, get_model_builder, get_model_weights

from distill.errors import SettingError, suggestion
from distill.models.heads import resized
from distill.models.preprocessing import Preprocessing, attach_preprocessing, averaged

log = logging.getLogger(__name__)

# Their published weights were trained on images in [-1, 1]; with `weights`, the network itself turns ImageNet's
# statistics into these (transform_input).
INCEPTIONS = ("googlenet", "inception_v3")


def torchvision_model(
    *,
    name: str,
    weights: str | None = None,
    arguments: dict[str, Any] | None = None,
    num_classes: int,
    in_channels: int = 3,
    own_head: bool = False,
) -> nn.Module:
    """Build torchvision.models.`name`, with random weights or those it offers: "DEFAULT", "IMAGENET1K_V1", ...

    Weights for another number of classes get a fresh head, weights for three channels are averaged into other numbers
    of channels; both are said in the log. preprocessing_of(the result) says what the weights were trained on.

    arguments: further keyword arguments of the network, such as {"dropout": 0.5}.
    own_head: weights keep their own classes, whatever num_classes is.

    Raises:
        SettingError: the name or the weights are unknown, the arguments do not fit, or the download failed.
    """
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise SettingError(f"name={name!r}: torchvision has no such classifier{suggestion(name, names)}")
    chosen = find_weights(name, weights)
    options = {**_quiet_options(name, pretrained=chosen is not None), **(arguments or {})}
    if chosen is None:
        options["num_classes"] = num_classes
    try:
        module: nn.Module = get_model_builder(name)(weights=chosen, **options)
    except TypeError as error:
        raise SettingError(f"arguments={arguments}: {name} does not take them: {error}") from error
    except URLError as error:
        raise SettingError(
            f"weights={weights!r}: downloading {chosen.url if chosen else name} failed ({error.reason}); "
            "connect to the network, or give checkpoint=FILE instead of weights"
        ) from error
    if chosen is not None and not own_head:
        _fit_head(module, name, len(chosen.meta["categories"]), num_classes)
    if in_channels != 3:
        fit_channels(module, name, in_channels, pretrained=chosen is not None)
    trained = chosen is not None and (own_head or len(chosen.meta["categories"]) == num_classes)
    expected = _preprocessing(module, name, chosen, in_channels)
    return attach_preprocessing(module, replace(expected, trained=trained, untrained=_untrained(module, arguments)))


def _untrained(module: nn.Module, arguments: dict[str, Any] | None) -> dict[str, Any]:
    """The settings that build the same layers without weights, which bring some settings of their own."""
    set_by_weights = {
        name: getattr(module, name) for name in ("transform_input", "image_size") if hasattr(module, name)
    }
    return {"weights": None, "arguments": {**set_by_weights, **(arguments or {})}}


def find_weights(name: str, weights: str | None) -> WeightsEnum | None:
    """The weights of a torchvision network by their name; SettingError where it has none such."""
    if weights is None:
        return None
    known = get_model_weights(name)
    member = weights.removeprefix(f"{known.__name__}.")
    if member not in known.__members__:
        offered = ", ".join(["DEFAULT", *(w.name for w in known)])
        raise SettingError(f"weights={weights!r}: {name} offers {offered}; null starts from random weights")
    found: WeightsEnum = known[member]
    return found


def _quiet_options(name: str, *, pretrained: bool) -> dict[str, Any]:
    """Return what makes the two Inceptions answer with logits alone, and draw their weights without a warning."""
    if name not in INCEPTIONS:
        return {}
    return {"aux_logits": False} if pretrained else {"aux_logits": False, "init_weights": True}


def _fit_head(module: nn.Module, name: str, classes: int, num_classes: int) -> None:
    if classes == num_classes:
        return
    for path, layer in reversed(list(module.named_modules())):
        outputs = getattr(layer, "out_features", None) or getattr(layer, "out_channels", None)
        head = resized(layer, num_classes) if outputs == classes else None
        if head is not None:
            module.set_submodule(path, head)
            log.warning(
                "%s: its weights know %d classes, the data has %d: the head %s starts from random weights",
                name,
                classes,
                num_classes,
                path,
            )
            return
    raise SettingError(f"num_classes={num_classes}: no layer of {name} with {classes} outputs was found to replace")


def fit_channels(module: nn.Module, name: str, in_channels: int, *, pretrained: bool) -> None:
    """Give the first convolution other inputs; trained weights then make of a grey image what they made of its RGB."""
    if getattr(module, "transform_input", False):
        raise SettingError(f"in_channels={in_channels}: {name} with weights takes 3 channels only")
    path, first = next((p, m) for p, m in module.named_modules() if isinstance(m, nn.Conv2d))
    trained = first.weight.detach()
    weight = trained.new_empty(first.out_channels, in_channels, *first.kernel_size)
    if pretrained:
        weight.copy_(trained.sum(dim=1, keepdim=True).expand_as(weight) / in_channels)
        log.warning("%s: its weights take 3 channels, the data has %d: %s was averaged", name, in_channels, path)
    else:
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
    first.in_channels, first.weight = in_channels, nn.Parameter(weight)


def _preprocessing(module: nn.Module, name: str, weights: WeightsEnum | None, in_channels: int) -> Preprocessing:
    """Random weights ask for no normalisation, and for a size only where the network works at no other."""
    size = getattr(module, "image_size", None)
    known = _of_weights(get_model_weights(name)["DEFAULT"] if weights is None else weights)
    expected = replace(averaged(known, in_channels), size=size or known.size)
    if weights is not None:
        return expected
    if name in INCEPTIONS and not getattr(module, "transform_input", False):
        expected = replace(expected, mean=(0.5,) * in_channels, std=(0.5,) * in_channels)
    return Preprocessing(size=size, of_weights=expected)


def _of_weights(weights: WeightsEnum) -> Preprocessing:
    preset = weights.transforms()
    names = tuple(weights.meta["categories"])
    return Preprocessing(tuple(preset.mean), tuple(preset.std), preset.crop_size[0], classes=names)
