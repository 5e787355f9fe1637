"""Conversations and prompts with completions as tokens, of which those count that the model is to write."""

from collections.abc import Mapping, Sequence
from typing import Any

from distill.data.language.encoded import Encoded
from distill.errors import SettingError

Message = Mapping[str, Any]
Tokenizer = Any
"""A fast tokenizer of `transformers`."""


def encode_conversation(tokenizer: Tokenizer, messages: Sequence[Message], *, everything: bool = False) -> Encoded:
    """A conversation by the tokenizer's chat template.

    Every assistant turn is to be learned, with the token that ends it; what users and the template itself say is not.

    Args:
        tokenizer: with a chat template.
        messages: `role` and `content` of each.
        everything: learn all tokens.

    Raises:
        SettingError: there is no template, or it rewrites earlier turns so that where they lie cannot be told.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise SettingError(
            "data=chat: the tokenizer has no chat template, which `messages` need: use one of an instruct model, or "
            "give `prompt` and `completion`"
        )
    text = _rendered(tokenizer, messages)
    return _encode(tokenizer, text, None if everything else assistant_spans(tokenizer, messages))


def encode_completion(tokenizer: Tokenizer, prompt: str, completion: str, *, everything: bool = False) -> Encoded:
    """A prompt and what is to follow it, as plain text, with the tokenizer's end token behind."""
    end = tokenizer.eos_token or ""
    text = f"{prompt}{completion}{end}"
    return _encode(tokenizer, text, None if everything else [(len(prompt), len(text))], special=True)


def encode_document(tokenizer: Tokenizer, text: str) -> Encoded:
    """A document with the tokenizer's begin and end tokens; all of it is to be learned."""
    ids = tokenizer(text, verbose=False)["input_ids"]
    if tokenizer.eos_token_id is not None and (not ids or ids[-1] != tokenizer.eos_token_id):
        ids = [*ids, tokenizer.eos_token_id]
    return Encoded.of(ids)


def assistant_spans(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[tuple[int, int]]:
    """Where in the rendered conversation the assistant speaks: from behind the generation prompt to the end of turn.

    The line break that templates put behind the token that ends a turn is not part of it.
    """
    spans = []
    whole = _rendered(tokenizer, messages)
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _rendered(tokenizer, messages[:place], add_generation_prompt=True)
        upto = _rendered(tokenizer, messages[: place + 1])
        if not (upto.startswith(before) and whole.startswith(upto)):
            raise SettingError(
                f"data=chat: the chat template of {tokenizer.name_or_path or 'the tokenizer'} writes earlier turns "
                f"otherwise once others follow (at message {place + 1}), so that where they lie cannot be told; give "
                "`prompt` and `completion`, or a tokenizer with another template"
            )
        ended = upto.rstrip()
        closed = any(ended.endswith(token) for token in tokenizer.all_special_tokens)
        spans.append((len(before), len(ended) if closed and len(ended) > len(before) else len(upto)))
    return spans


def _rendered(tokenizer: Tokenizer, messages: Sequence[Message], **options: Any) -> str:
    if not messages and not options:
        return ""
    try:
        text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, **options)
    except Exception as error:  # of whatever a template does
        raise SettingError(f"data=chat: the chat template refuses a conversation: {error}") from error
    return text


def _encode(
    tokenizer: Tokenizer, text: str, spans: Sequence[tuple[int, int]] | None, *, special: bool = False
) -> Encoded:
    """Tokens of a text; those count that begin within a span. special: with what the tokenizer puts around a text."""
    made = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
    ids, offsets = made["input_ids"], made["offset_mapping"]
    if spans is None:
        return Encoded.of(ids)
    counts = [any(low <= start < high for low, high in spans) and end > start for start, end in offsets]
    return Encoded.of(ids, counts)


def fitted(samples: Sequence[Encoded], block_size: int) -> tuple[list[int], int, int]:
    """Which samples still have something to learn once their end is cut to a block.

    Returns:
        Places of those that stay, how many of these are cut, and how many are dropped because nothing is left to learn.
    """
    kept, cut = [], 0
    for place, sample in enumerate(samples):
        if bool(sample.cut(block_size + 1).counts[1:].any()):
            kept.append(place)
            cut += len(sample) > block_size + 1
    return kept, cut, len(samples) - len(kept)
