"""Encoders of `transformers` with a head for classes, or for a number: read from a directory, or made new."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from distill.data.language.tokenizer import tokenizer_of
from distill.data.positions import positions_of
from distill.errors import SettingError, first_line
from distill.models.preprocessing import Preprocessing, attach_preprocessing
from distill.models.transformer import (
    check_tokenizer,
    from_settings,
    import_transformers,
    plain_settings,
    quiet,
    read_config,
    with_layers,
)

log = logging.getLogger(__name__)

HEADED = "ForSequenceClassification"


def sequence_classifier(
    *,
    num_classes: int,
    path: str | None = None,
    config: Mapping[str, Any] | None = None,
    layers: Sequence[int] | None = None,
    gradient_checkpointing: bool = False,
    base_path: str | None = None,
    base_config: Mapping[str, Any] | None = None,
    tokenizer: str | None = None,
    max_length: int | None = None,
    own_head: bool = False,
) -> nn.Module:
    """Build an encoder of texts with a head.

    Args:
        num_classes: outputs of the head; a bare encoder gets one of random weights.
        path: directory that `save_pretrained` wrote, with weights in safetensors.
        config: for random weights, what differs from the base's architecture; without a base all of it, `model_type`
            included.
        layers: of the base's layers those to copy, with all else: [0, 2, 4].
        gradient_checkpointing: work hidden states out again for gradients, which takes time and saves memory.
        base_path, base_config: what `config` and `layers` start from: the teacher.
        tokenizer: directory of what made the data's tokens; that of `path` must be the same.
        max_length: tokens that it will be shown at most.
        own_head: a head that `path` has keeps its own classes, whatever num_classes is.

    Raises:
        SettingError: a directory that isn't there or holds something else, settings that don't fit together, another
            tokenizer, fewer positions than `max_length`.
    """
    auto = import_transformers().AutoModelForSequenceClassification
    if path is not None and (config or layers):
        raise SettingError(f"path={path}: its own configuration counts; leave config and layers out, or path")
    trained = False
    if path is not None:
        model, trained = _pretrained(auto, path, num_classes, own_head=own_head)
        check_tokenizer(path, None, tokenizer)
    elif layers is not None:
        if base_path is None:
            raise SettingError(f"layers={list(layers)}: copies the teacher's, which has no path to read them from")
        model = with_layers(_pretrained(auto, base_path, num_classes)[0], layers)
    elif config is not None or base_config is not None or base_path is not None:
        base = dict(base_config or {}) if base_path is None else plain_settings(read_config(base_path))
        model = from_settings(auto, _with_labels({**base, **(config or {})}, num_classes))
    else:
        raise SettingError("path=null: give the directory of a model, or config={...} for a new one")
    _check_size(model, tokenizer, max_length)
    settings = plain_settings(model.config)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    untrained = {
        "path": None, "config": settings, "layers": None, "base_path": None, "base_config": None, "tokenizer": None,
        "max_length": None,
    }  # fmt: skip
    known = Preprocessing(
        trained=trained,
        pretrained=path is not None or layers is not None,
        untrained=untrained,
        classes=_class_names(model.config) if trained or own_head else None,
        name=f"{model.config.model_type} {model.config.num_hidden_layers}x{model.config.hidden_size}",
    )
    built: nn.Module = attach_preprocessing(model, known)
    return built


def _pretrained(auto: Any, path: str, outputs: int, *, own_head: bool = False) -> tuple[Any, bool]:
    """The model in a directory, and whether its head is trained, for so many outputs."""
    config = read_config(path)
    headed = any(str(name).endswith(HEADED) for name in config.architectures or ())
    if headed and config.num_labels != outputs and not own_head:
        log.warning(f"{path}: knows {config.num_labels} classes, the data has {outputs}: its head starts anew")
    if not headed or (config.num_labels != outputs and not own_head):
        config.num_labels = outputs
    try:
        with quiet():
            model, found = auto.from_pretrained(
                path, config=config, local_files_only=True, trust_remote_code=False, use_safetensors=True,
                ignore_mismatched_sizes=True, dtype=torch.float32, output_loading_info=True,
            )  # fmt: skip
    except Exception as error:  # of whatever lies there
        raise SettingError(
            f"path={path}: no encoder could be read: {first_line(error)}; must hold config.json and model.safetensors"
        ) from error
    missing = [*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"])]
    body = [name for name in missing if name.startswith(f"{model.base_model_prefix}.") and ".pooler." not in name]
    if body:
        raise SettingError(f"path={path}: its weights lack {len(body)} tensors of the encoder, such as {body[0]}")
    return model, not missing


def _with_labels(settings: dict[str, Any], outputs: int) -> dict[str, Any]:
    """The settings of a model with so many outputs, which keep their names where there are as many."""
    names = settings.get("id2label")
    if names is not None and len(names) == outputs:
        return settings
    kept = {name: value for name, value in settings.items() if name not in ("id2label", "label2id", "num_labels")}
    return {**kept, "num_labels": outputs}


def _class_names(config: Any) -> tuple[str, ...] | None:
    """What a model calls its outputs; None where it has no names for them."""
    names = tuple(str(config.id2label[place]) for place in range(config.num_labels))
    return None if names == tuple(f"LABEL_{place}" for place in range(len(names))) else names


def _check_size(model: Any, tokenizer: str | None, max_length: int | None) -> None:
    """Refuse a model that knows fewer tokens, or fewer positions, than it will be shown."""
    config = model.config
    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer is not None and rows < (tokens := len(tokenizer_of(tokenizer))):
        raise SettingError(f"config: vocab_size={rows}: must be {tokens} or more, as many as the tokenizer has")
    positions = positions_of(config.to_dict())
    if max_length and positions and max_length > positions:
        raise SettingError(f"data.max_length={max_length}: the model has {positions} positions; must be at most that")
