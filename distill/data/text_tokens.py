"""Texts, or pairs of texts, to token sequences."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distill.data.language.tokenizer import fingerprint
from distill.data.tokens import Tokens
from distill.errors import SettingError

AT_ONCE = 4096  # texts
BETWEEN = " ¶ "  # the two texts of a pair, in reports


def tokens_of(
    tokenizer: Any,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    targets: Tensor,
    names: Sequence[str],
    max_length: int,
) -> tuple[Tokens, int]:
    """Texts as tokens, and how many of them were cut.

    Args:
        tokenizer: a fast one of `transformers`; what it puts around a text and between two stays.
        texts: the samples.
        pairs: of each its second text; None where there is one alone.
        targets: (N, ...) their labels.
        names: what to call them.
        max_length: tokens of a sample; of longer ones the end is cut off, of a pair that of the longer text.

    Raises:
        SettingError: the tokenizer has nothing to pad with, or puts more tokens around a text than `max_length`.
    """
    padding = tokenizer.pad_token_id
    if padding is None:
        raise SettingError(f"data.tokenizer={tokenizer.name_or_path}: has no token to pad with, which batches need")
    if max_length <= (around := tokenizer.num_special_tokens_to_add(pair=pairs is not None)):
        raise SettingError(f"data.max_length={max_length}: the tokenizer puts {around} tokens around; must be more")
    columns: dict[str, list[Tensor]] = {}
    lengths, cut = [], 0
    for start in range(0, len(texts), AT_ONCE):
        chunk = slice(start, start + AT_ONCE)
        second = None if pairs is None else list(pairs[chunk])
        made = _encoded(tokenizer, list(texts[chunk]), second, max_length)
        cut += sum(bool(encoding.overflowing) for encoding in made.encodings)
        lengths += [len(ids) for ids in made["input_ids"]]
        for name, rows in made.items():
            columns.setdefault(name, []).append(torch.tensor([token for row in rows for token in row]).int())
    together = {name: torch.cat(parts) for name, parts in columns.items()}
    paddings = {"input_ids": int(padding), "token_type_ids": int(getattr(tokenizer, "pad_token_type_id", 0))}
    shown = texts if pairs is None else [f"{one}{BETWEEN}{other}" for one, other in zip(texts, pairs, strict=True)]
    starts = torch.tensor([0, *lengths]).cumsum(0)
    return Tokens(together, starts, targets, paddings, shown, names, max_length, fingerprint(tokenizer)), cut


def _encoded(tokenizer: Any, texts: list[str], pairs: list[str] | None, max_length: int) -> Any:
    options = {"truncation": True, "max_length": max_length, "return_attention_mask": False}
    return tokenizer(texts, pairs, **options)
