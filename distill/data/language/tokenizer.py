"""Tokenizers: read from a directory, or made in place of bytes."""

import hashlib
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, overload

from distill.errors import SettingError, first_line

END = "<|end|>"

FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
"""Of these a directory with a tokenizer has one."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] + '" + END + "\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def tokenizer_of(path: str | None, gguf_file: str | None = None) -> Any:
    """The `transformers` tokenizer of a directory, or of a GGUF file in it; that of bytes where there is no path.

    Raises:
        SettingError: the directory isn't there or holds no fast tokenizer.
    """
    if path is None:
        return byte_tokenizer()
    if not Path(path).is_dir():
        raise SettingError(f"data.tokenizer={path}: no such directory; nothing is downloaded: give that of a model")
    from transformers import AutoTokenizer

    if gguf_file is None and not any((Path(path) / name).is_file() for name in FILES):  # or one without words is made
        raise SettingError(
            f"data.tokenizer={path}: holds no tokenizer; save one there, or give the directory of another"
        )
    given = {} if gguf_file is None else {"gguf_file": gguf_file}
    try:
        found: Any = AutoTokenizer.from_pretrained(path, local_files_only=True, **given)
    except Exception as error:  # of whatever lies there
        raise SettingError(f"data.tokenizer={path}: holds no tokenizer: {first_line(error)}") from error
    if not found.is_fast:
        raise SettingError(f"data.tokenizer={path}: tells not where tokens lie in a text; must hold a tokenizer.json")
    return found


def byte_tokenizer() -> Any:
    """A `transformers` tokenizer of 257 tokens: the bytes, and the end token, which also pads.

    Its chat template puts each speaker's name before and the end token behind what is said.
    """
    _import_transformers()
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: number for number, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    fast: Any = PreTrainedTokenizerFast
    made = fast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    made.chat_template = CHAT_TEMPLATE
    return made


def fingerprint(tokenizer: Any) -> bytes:
    """Of all that decides which tokens a text becomes, and its chat template."""
    text = tokenizer.backend_tokenizer.to_str() + repr((tokenizer.chat_template, tokenizer.eos_token))
    return hashlib.sha256(text.encode()).digest()


PROBES = (
    "The quick brown fox jumps over 13 lazy dogs.",
    "def f(x):\n    return x**2  # squared\n",
    "Größe, naïve, 東京, 🙂\tend",
)
"""Texts that most tokenizers cut differently."""


def first_difference(one: Any, other: Any) -> str | None:
    """What two tokenizers make of the same first: of a few texts, else a token's number; None where they are alike.

    Chat templates and which token ends a text are not looked at.
    """
    for text in PROBES:
        ours, theirs = (each(text, add_special_tokens=False)["input_ids"] for each in (one, other))
        for place, (mine, its) in enumerate(zip_longest(ours, theirs)):
            if mine != its:
                words = ("none" if i is None else f"{i} ({t.decode([i])!r})" for i, t in ((mine, one), (its, other)))
                return f"token {place} of {text!r} is {' and '.join(words)}"
    known, others = ({number: text for text, number in each.get_vocab().items()} for each in (one, other))
    for number in range(max(len(known), len(others))):
        if known.get(number) != others.get(number):
            return f"token {number} is {known.get(number)!r} and {others.get(number)!r}"
    return None


class TokenNames(Sequence[str]):
    """What each token of a tokenizer says, decoded when it is asked for."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self.tokenizer)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        text: str = self.tokenizer.decode([index])
        return text


def _import_transformers() -> None:
    try:
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingError(
            'data: language models need a package that is not installed: pip install -e ".[language]"'
        ) from error
