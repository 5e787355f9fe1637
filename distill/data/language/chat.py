"""Conversations, and prompts with completions, of JSONL or Parquet files as blocks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from distill.data.language.blocks import Blocks
from distill.data.language.conversations import encode_completion, encode_conversation, fitted
from distill.data.language.documents import check_sizes, divide
from distill.data.language.encoded import Encoded
from distill.data.language.readers import rows_of
from distill.data.language.source import LanguageSource
from distill.data.language.tokenizer import tokenizer_of
from distill.data.parts import wanted
from distill.data.source import Only, Part
from distill.errors import SettingError

LossOn = Literal["completions", "all"]


def chat(
    *,
    train: str,
    val: str | None = None,
    val_fraction: float = 0.1,
    block_size: int = 512,
    packed: bool = True,
    loss_on: LossOn = "completions",
    tokenizer: str | None = None,
    gguf_file: str | None = None,
    only: Only | None = None,
) -> LanguageSource:
    """Samples of `messages`, by the tokenizer's chat template, or of `prompt` and `completion`.

    Args:
        train: a JSONL or Parquet file.
        val: likewise, for validation; None takes a share of the samples of `train`.
        val_fraction: that share.
        block_size: positions in a block. The end of what is longer is cut; what has nothing to learn then is dropped.
        packed: put several samples in a training block, none of which sees another.
        loss_on: learn what the assistant says, or all of it.
        tokenizer, gguf_file: directory of the tokenizer, and a GGUF file in it; None for bytes.
        only: the split that alone is wanted.

    Raises:
        SettingError: a file that isn't there or cannot be read, a row of another form, nothing left to learn.
    """
    check_sizes(block_size, val_fraction)
    made = tokenizer_of(tokenizer, gguf_file)
    samples = _samples(train, "data.train", made, loss_on)
    if val is not None:
        splits: dict[Part, Sequence[Encoded]] = {"train": samples, "val": _samples(val, "data.val", made, loss_on)}
    else:
        texts = [sample.ids.numpy().tobytes() for sample in samples]
        held = divide(texts, val_fraction)
        splits = {
            "train": [sample for place, sample in enumerate(samples) if place not in held],
            "val": [sample for place, sample in enumerate(samples) if place in held],
        }
    parts: dict[Part, Blocks] = {}
    notes = []
    for part, whole in wanted(splits, only, f"data.train={train}").items():
        kept, cut, dropped = fitted(whole, block_size)
        if not kept:
            raise SettingError(
                f"data.block_size={block_size}: the prompts of all {len(whole)} samples of {part} are longer; raise it"
            )
        notes.append(f"{part}: {len(kept):,} samples, the end of {cut:,} cut, {dropped:,} dropped as too long")
        encoded = [whole[place].cut(block_size + 1) for place in kept]
        names = [str(place) for place in kept]
        packs = packed and part == "train"
        parts[part] = Blocks.of(encoded, block_size, packed=packs, names=names, tokenizer=made)
    return LanguageSource.of(Path(train).stem, parts, made, tokenizer, tuple(notes), gguf_file)


def _samples(path: str, setting: str, tokenizer: Any, loss_on: LossOn) -> list[Encoded]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise SettingError(f"{setting}={path}: no such file; must be JSONL or Parquet")
    found = [_encoded(row, f"{file}, line {number}", tokenizer, loss_on) for number, row in rows_of(file)]
    if not found:
        raise SettingError(f"{setting}={path}: holds no samples")
    return found


def _encoded(row: Mapping[str, Any], where: str, tokenizer: Any, loss_on: LossOn) -> Encoded:
    everything = loss_on == "all"
    messages, prompt, completion = row.get("messages"), row.get("prompt"), row.get("completion")
    if isinstance(prompt, list) and isinstance(completion, list):  # conversations in two parts
        messages = [*prompt, *completion]
    if isinstance(messages, list) and messages and all(_is_message(message) for message in messages):
        return encode_conversation(tokenizer, messages, everything=everything)
    if isinstance(prompt, str) and isinstance(completion, str):
        return encode_completion(tokenizer, prompt, completion, everything=everything)
    raise SettingError(
        f"{where}: must have `messages`, each with `role` and `content`, or `prompt` and `completion`; it has "
        f"{', '.join(map(repr, row)) or 'nothing'}"
    )


def _is_message(message: Any) -> bool:
    return isinstance(message, Mapping) and isinstance(message.get("role"), str) and "content" in message
