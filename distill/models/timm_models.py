"""Any classifier of timm (https://github.com/huggingface/pytorch-image-models), by its name; needs the extra `timm`."""

import logging
from dataclasses import replace
from typing import Any, cast

from torch import nn

from distill.errors import SettingError, suggestion
from distill.models import imagenet
from distill.models.preprocessing import Preprocessing, attach_preprocessing, averaged, of_timm

log = logging.getLogger(__name__)


def timm_model(
    *,
    name: str,
    pretrained: bool = False,
    arguments: dict[str, Any] | None = None,
    num_classes: int,
    in_channels: int = 3,
    own_head: bool = False,
) -> nn.Module:
    """Build the timm model `name` ("vit_tiny_patch16_224", "resnet18.a1_in1k", "hf-hub:..."), pretrained or not.

    timm itself gives pretrained weights a fresh head for another number of classes (said in the log) and adapts them
    to other numbers of channels. preprocessing_of(the result) says what the weights were trained on.

    arguments: further keyword arguments of timm.create_model, such as {"img_size": 32, "patch_size": 4}.
    own_head: pretrained weights keep their own classes, whatever num_classes is.

    Raises:
        SettingError: timm is not installed, the name is unknown, the arguments do not fit, or there are no weights.
    """
    timm = import_timm()
    check_name(timm, name, pretrained=pretrained)
    options = {"pretrained": pretrained, "in_chans": in_channels, **(arguments or {})}
    if not (own_head and pretrained):
        options = {"num_classes": num_classes, **options}
    try:
        module: nn.Module = timm.create_model(name, **options)
    except TypeError as error:
        raise SettingError(f"arguments={arguments}: {name} does not take them: {error}") from error
    except (OSError, RuntimeError) as error:
        wanted = f"pretrained={pretrained}" + (f", arguments={arguments}" if arguments else "")
        raise SettingError(
            f"{wanted}: timm could not build {name!r}: {error}. Without a network give checkpoint=FILE and "
            "pretrained=false; `timm.list_pretrained()` lists what has weights"
        ) from error
    config = cast(dict[str, Any], module.pretrained_cfg)
    same = own_head or config.get("num_classes") == num_classes
    if pretrained and not same:
        log.warning(
            "%s: its weights know %s classes, the data has %d: the head starts from random weights",
            name, config.get("num_classes"), num_classes,
        )  # fmt: skip
    expected = _preprocessing(module, config, in_channels, pretrained=pretrained)
    trained = pretrained and same
    untrained = _untrained(module, name, arguments)
    return attach_preprocessing(module, replace(expected, trained=trained, untrained=untrained))


def _untrained(module: nn.Module, name: str, arguments: dict[str, Any] | None) -> dict[str, Any]:
    """The settings that build the same layers without weights, and without asking the hub what a name of it means."""
    if ":" not in name:
        return {"pretrained": False}
    config = cast(dict[str, Any], module.pretrained_cfg)
    given = {n: v for n, v in getattr(module, "_model_args", {}).items() if n not in ("num_classes", "in_chans")}
    return {"pretrained": False, "name": config["architecture"], "arguments": {**given, **(arguments or {})}}


def import_timm() -> Any:
    """The package; SettingError where it is not installed."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise SettingError(
            'models of timm need a package that is not installed: pip install "distill[timm]"'
        ) from error
    return timm


def check_name(timm: Any, name: str, *, pretrained: bool) -> None:
    """Raise SettingError for a name that timm doesn't have, or has no weights of where these are asked for."""
    if ":" in name:  # hf-hub:user/model or local-dir:path: for timm to find
        return
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = suggestion(architecture, [n for n in timm.list_models() if n[:3] == architecture[:3]])
        raise SettingError(f"name={name!r}: timm has no such model{near}; timm.list_models() names all")
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tagged:
        raise SettingError(f"name={name!r}: timm has no weights {tag!r} of it; it has {', '.join(tagged) or 'none'}")
    if pretrained and not tagged and not timm.models.is_model_pretrained(architecture):
        raise SettingError(f"pretrained=true: timm has no weights of {name}; must be false")


def _preprocessing(module: nn.Module, config: dict[str, Any], in_channels: int, *, pretrained: bool) -> Preprocessing:
    """Random weights ask for no normalisation, and for a size only where the network works at no other."""
    size = _fixed_size(module, config)
    known = of_timm(config)
    expected = replace(
        averaged(known, in_channels),
        size=size or known.size,
        classes=known.classes or (imagenet.names() if config.get("num_classes") == 1000 else None),
    )
    return expected if pretrained else Preprocessing(size=size, of_weights=expected)


def _fixed_size(module: nn.Module, config: dict[str, Any]) -> int | None:
    embedding: Any = getattr(module, "patch_embed", None)
    if getattr(embedding, "strict_img_size", False) and getattr(embedding, "img_size", None):
        return int(embedding.img_size[-1])  # arguments may have set another than the configuration names
    return int(config["input_size"][-1]) if config.get("fixed_input_size") else None
