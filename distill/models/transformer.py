"""What networks of `transformers` have in common: read offline from a directory, cut to some of their layers."""

import copy
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from distill.data.language.tokenizer import first_difference, tokenizer_of
from distill.errors import SettingError, first_line

STORAGE = ("quantization_config", "transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures")


def check_directory(path: str) -> None:
    """Raise SettingError where there is no directory, so that nothing is ever asked of a network."""
    if not Path(path).is_dir():
        raise SettingError(
            f"path={path}: no such directory; nothing is downloaded: give one that save_pretrained wrote"
        )


def read_config(path: str, gguf_file: str | None = None) -> Any:
    """The configuration of the model in a directory, or of a GGUF file in it.

    Raises:
        SettingError: there is none.
    """
    from transformers import AutoConfig

    check_directory(path)
    try:
        given = {} if gguf_file is None else {"gguf_file": gguf_file}
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False, **given)
    except Exception as error:  # of whatever lies there
        raise SettingError(f"path={path}: holds no configuration of a model: {first_line(error)}") from error


def check_tokenizer(path: str, gguf_file: str | None, tokenizer: str | None, tokenizer_gguf: str | None = None) -> None:
    """Refuse a model whose tokenizer is not the one that made the tokens it will see; a model without one may be right.

    Args:
        path, gguf_file: of the model.
        tokenizer, tokenizer_gguf: of the data's tokens; '' for bytes; None: unknown.

    Raises:
        SettingError: there is no such directory, or the tokenizers differ; the first difference is named.
    """
    check_directory(path)
    if tokenizer is None or (tokenizer and Path(tokenizer).absolute() == Path(path).absolute()):
        return
    try:
        own = tokenizer_of(path, gguf_file)
    except SettingError:
        return  # how many tokens it knows is looked at anyway
    if difference := first_difference(own, tokenizer_of(tokenizer or None, tokenizer_gguf)):
        raise SettingError(
            f"path={path}: its tokenizer is not that of data.tokenizer={tokenizer or 'null'}, whose tokens it would "
            f"take for its own: {difference}; choose a model with the same, or student.layers or student.config over "
            "the teacher's"
        )


def plain_settings(config: Any) -> dict[str, Any]:
    """A configuration as JSON takes it, without what says how weights were stored."""
    kept = {name: value for name, value in config.to_diff_dict().items() if name not in STORAGE}
    plain: dict[str, Any] = json.loads(json.dumps(kept))
    return plain


def from_settings(auto: Any, settings: Mapping[str, Any]) -> Any:
    """A model of random weights.

    Args:
        auto: of `transformers`, such as AutoModelForSequenceClassification.
        settings: of the architecture, with its `model_type`.

    Raises:
        SettingError: they make none.
    """
    from transformers import AutoConfig

    if "model_type" not in settings:
        raise SettingError(
            f"config={dict(settings)}: names no model_type, such as bert, and there is no base to change"
        )
    try:
        return auto.from_config(AutoConfig.for_model(**settings))
    except Exception as error:  # of whatever an architecture says to its settings
        raise SettingError(f"config={dict(settings)}: makes no such model: {first_line(error)}") from error


def with_layers(model: Any, layers: Sequence[int]) -> Any:
    """The model with some of its layers alone, in the order that is given.

    Raises:
        SettingError: numbers that aren't its layers', or a model with no one list of layers.
    """
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == model.config.num_hidden_layers
    ]
    if len(lists) != 1:
        raise SettingError(f"layers={list(layers)}: {type(model).__name__} has no one list of layers to choose from")
    path, blocks = lists[0]
    outside = [layer for layer in layers if not 0 <= layer < len(blocks)]
    if outside or not layers or len(set(layers)) != len(layers):
        raise SettingError(f"layers={list(layers)}: must be different numbers from 0 to {len(blocks) - 1}")
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(layers)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[layer] for layer in layers]
    smaller = type(model)(config)
    chosen = {f"{path}.{layer}.": f"{path}.{place}." for place, layer in enumerate(layers)}
    state = {}
    for name, tensor in model.state_dict().items():
        old = next((prefix for prefix in chosen if name.startswith(prefix)), None)
        if old is not None:
            state[chosen[old] + name.removeprefix(old)] = tensor
        elif not name.startswith(f"{path}."):
            state[name] = tensor
    smaller.load_state_dict(state)
    return smaller


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what `transformers` says of its own loading from the terminal; what matters of it, we say."""
    from transformers.utils import logging as theirs

    bars, level = theirs.is_progress_bar_enabled(), theirs.get_verbosity()
    theirs.disable_progress_bar()  # type: ignore[no-untyped-call]
    theirs.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()  # type: ignore[no-untyped-call]


def import_transformers() -> Any:
    """The package.

    Raises:
        SettingError: it is not installed.
    """
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise SettingError(
            'networks of text need a package that is not installed: pip install -e ".[language]"'
        ) from error
    return transformers
