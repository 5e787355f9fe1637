"""Causal language models of `transformers`: hidden states and output layer in place of logits."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distill.errors import SettingError, first_line
from distill.losses import Projection
from distill.models.adapters import adapted, effective_weight
from distill.models.preprocessing import Preprocessing, attach_preprocessing
from distill.models.transformer import (
    check_tokenizer,
    from_settings,
    import_transformers,
    plain_settings,
    read_config,
    with_layers,
)

TOLERANCE = 1e-4  # between a model's own logits and those of its hidden states and head, relative to the largest


class CausalLM(nn.Module):
    """A causal language model whose logits are not made.

    Args:
        model: a `transformers` model with a language-modelling head.
        tokens: the first so many outputs are the tokenizer's; a head that is padded has more, which nothing says.

    Raises:
        SettingError: logits that aren't a linear layer of the hidden states, scaled and bounded, or fewer outputs than
            tokens.
    """

    def __init__(self, model: Any, tokens: int) -> None:
        super().__init__()
        self.model = model
        self.tokens = tokens
        outputs = self._head().out_features if hasattr(self._head(), "out_features") else len(self._head().weight)
        if outputs < tokens:
            raise SettingError(
                f"{type(model).__name__} has {outputs:,} outputs, and the tokenizer {tokens:,} tokens; they must be of "
                "one kind: give the tokenizer that the model was trained with"
            )
        _check_head(self)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Projection:
        """Hidden states (N, T, H) and output layer for (N, T) int64 ids.

        attention_mask: 0 at what is padded behind. position_ids: begin at 0 in each of several packed texts, which then
        see themselves alone.
        """
        given = {"attention_mask": attention_mask, "position_ids": position_ids}
        kept = {name: value for name, value in given.items() if value is not None}
        hidden = self.model.base_model(input_ids=input_ids, use_cache=False, **kept)[0]
        return self.project(hidden).first(self.tokens)

    def project(self, hidden: Tensor) -> Projection:
        """What the output layer makes of hidden states (*positions, H)."""
        head = self._head()
        settings = self.model.config.get_text_config()
        scale = float(getattr(settings, "logit_scale", None) or 1.0) / float(
            getattr(settings, "logits_scaling", None) or 1.0
        )
        cap = getattr(settings, "final_logit_softcapping", None)
        return Projection(hidden, effective_weight(head), head.bias, scale, cap)

    @property
    def positions(self) -> int:
        """How many tokens it may be shown at most."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize)

    def _head(self) -> Any:
        head = self.model.get_output_embeddings()
        if head is None or not isinstance(getattr(head, "weight", None), Tensor):
            raise SettingError(f"{type(self.model).__name__} has no output layer with a weight; choose a causal_lm")
        return head


def causal_lm(
    *,
    num_classes: int,
    path: str | None = None,
    gguf_file: str | None = None,
    config: Mapping[str, Any] | None = None,
    layers: Sequence[int] | None = None,
    lora: Mapping[str, Any] | None = None,
    gradient_checkpointing: bool = False,
    base_path: str | None = None,
    base_gguf_file: str | None = None,
    base_config: Mapping[str, Any] | None = None,
    tokenizer: str | None = None,
    tokenizer_gguf: str | None = None,
    max_length: int | None = None,
) -> nn.Module:
    """Build a causal language model.

    Args:
        num_classes: tokens of the tokenizer.
        path, gguf_file: directory of `save_pretrained`, and a GGUF file in it; with its weights.
        config: settings of the architecture that differ from those of the base, for random weights.
        layers: of the base's layers those to copy, with all else: [0, 3, 6].
        lora: arguments of `peft.LoraConfig`, {} for its defaults: adapters are trained, and all else stays.
        gradient_checkpointing: work hidden states out again for gradients, which takes time and saves memory.
        base_path, base_gguf_file, base_config: what `config` and `layers` start from: the teacher.
        tokenizer, tokenizer_gguf: directory of what made the data's tokens, and a GGUF file in it; '' for bytes. That
            of `path` must be the same.
        max_length: positions that it will be shown at most.

    Raises:
        SettingError: a directory or file that isn't there or holds something else, settings that don't fit together,
            another tokenizer, fewer positions than `max_length`.
    """
    import_transformers()
    if path is not None and (config or layers):
        raise SettingError(f"path={path}: its own configuration counts; leave config and layers out, or path")
    if path is not None:
        check_tokenizer(path, gguf_file, tokenizer, tokenizer_gguf)
        model = _pretrained(path, gguf_file)
    elif layers is not None:
        if base_path is None:
            raise SettingError(
                f"layers={list(layers)}: copies layers of the teacher, which has no path to read them of"
            )
        model = with_layers(_pretrained(base_path, base_gguf_file), layers)
    elif config is not None or base_config is not None or base_path is not None:
        model = from_settings(
            import_transformers().AutoModelForCausalLM,
            _merged(base_path, base_gguf_file, base_config, config, num_classes),
        )
    else:
        raise SettingError("path=null: give the directory of a model, or config={...} for a new one")
    _check_positions(model.config, max_length)
    settings = plain_settings(model.config)
    if lora is not None:
        model = adapted(model, lora)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    untrained = {
        "path": None, "gguf_file": None, "config": settings, "layers": None,
        "base_path": None, "base_gguf_file": None, "base_config": None, "tokenizer": None, "tokenizer_gguf": None,
    }  # fmt: skip
    return attach_preprocessing(
        CausalLM(model, num_classes), Preprocessing(trained=path is not None, untrained=untrained)
    )


def _merged(
    base_path: str | None,
    base_gguf_file: str | None,
    base_config: Mapping[str, Any] | None,
    config: Mapping[str, Any] | None,
    tokens: int,
) -> dict[str, Any]:
    """The settings of a new model: the base's, changed by `config`."""
    base = dict(base_config or {})
    if base_path is not None:
        base = plain_settings(read_config(base_path, base_gguf_file))
    changed = {**base, **(config or {})}
    if config and "hidden_size" in config and "head_dim" not in config:
        changed.pop("head_dim", None)  # of the base's width
    if config and "num_attention_heads" in config and "num_key_value_heads" not in config:
        changed["num_key_value_heads"] = config["num_attention_heads"]
    return {"model_type": "llama", "vocab_size": tokens, **changed}


def _pretrained(path: str, gguf_file: str | None) -> Any:
    """A model with its weights in float32."""
    from transformers import AutoModelForCausalLM

    config = read_config(path, gguf_file)
    given = {} if gguf_file is None else {"gguf_file": gguf_file}
    try:
        model = AutoModelForCausalLM.from_pretrained(path, local_files_only=True, dtype=torch.float32, **given)
    except Exception as error:
        raise SettingError(f"path={path}: no causal language model could be read: {first_line(error)}") from error
    if gguf_file is None:
        return model
    settings = plain_settings(model.config)  # without what says how the file was packed, which cannot be saved
    plain: Any = type(model)(type(config).from_dict(settings))
    plain.load_state_dict(model.state_dict())
    plain.eval()
    return plain


def _check_positions(config: Any, max_length: int | None) -> None:
    known = getattr(config.get_text_config(), "max_position_embeddings", None)
    if max_length and known and max_length > known:
        raise SettingError(f"data.block_size={max_length}: the model has {known} positions; must be at most {known}")


@torch.no_grad()
def _check_head(network: CausalLM) -> None:
    """Refuse a model whose logits are not what its hidden states and head make of them."""
    training = network.training
    network.eval()
    ids = torch.arange(4).unsqueeze(0) % network.tokens
    own = network.model(input_ids=ids, use_cache=False).logits[..., : network.tokens].flatten(0, 1).float()
    made = network(ids).logits()
    network.train(training)
    gap = float((own - made).abs().max() / own.abs().max().clamp_min(1e-12))
    if not gap <= TOLERANCE:
        raise SettingError(
            f"{type(network.model).__name__}: its logits are not a linear layer of its hidden states, scaled and "
            f"bounded (they differ by {gap:.2g} of the largest), so that they cannot be worked out in chunks: choose "
            "another model"
        )
