"""Documents as blocks: those of one or many files, or of Python's own standard library."""

import hashlib
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.data.language.blocks import Blocks
from distill.data.language.conversations import encode_document
from distill.data.language.readers import read_text, text_rows
from distill.data.language.source import LanguageSource
from distill.data.language.tokenizer import tokenizer_of
from distill.data.parts import wanted
from distill.data.source import Only, Part
from distill.errors import SettingError

LONGEST = 12_000  # bytes of a module that is taken, so that a few do not make up the whole
SUFFIXES = (".txt", ".md", ".py", ".rst", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Document:
    """A text and what it is called."""

    name: str
    text: str


def text_files(
    *,
    path: str,
    val: str | None = None,
    val_fraction: float = 0.1,
    block_size: int = 256,
    packed: bool = True,
    text_column: str = "text",
    tokenizer: str | None = None,
    gguf_file: str | None = None,
    only: Only | None = None,
) -> LanguageSource:
    """Documents of a file or of all files below a directory.

    Args:
        path: a text file is a document, a line of JSONL or a row of Parquet too.
        val: likewise, for validation; None takes a share of the documents of `path`.
        val_fraction: that share; of one document alone, its last part.
        block_size: positions in a block; longer documents come in pieces.
        packed: put several documents in a block, none of which sees another; else each block holds one, padded.
        text_column: of JSONL and Parquet.
        tokenizer, gguf_file: directory of the tokenizer, and a GGUF file in it; None for bytes.
        only: the split that alone is wanted.

    Raises:
        SettingError: a path that isn't there, a file that isn't UTF-8 or cannot be read, no text, a wrong setting.
    """
    check_sizes(block_size, val_fraction)
    documents = _documents(path, "data.path", text_column)
    if val is not None:
        splits: dict[Part, Sequence[Document]] = {"train": documents, "val": _documents(val, "data.val", text_column)}
    else:
        splits = dict(zip(("train", "val"), divided(documents, val_fraction), strict=True))
    made = tokenizer_of(tokenizer, gguf_file)
    return _source(Path(path).stem, splits, made, tokenizer, block_size, packed, only, gguf_file)


def standard_library(
    *,
    block_size: int = 128,
    characters: int = 300_000,
    val_characters: int = 40_000,
    packed: bool = True,
    only: Only | None = None,
) -> LanguageSource:
    """The source text of Python's standard library, as bytes: data that needs neither a file nor a network.

    Args:
        block_size: positions in a block.
        characters, val_characters: how much of it to train and to validate on, at least: modules drawn by their names.
        packed: see `text_files`.
        only: the split that alone is wanted.

    Raises:
        SettingError: a setting out of range, or a Python without the source of its library.
    """
    check_sizes(block_size, 0.1)
    root = Path(sysconfig.get_paths()["stdlib"])
    modules = sorted(root.glob("*.py"), key=lambda file: hashlib.sha256(file.name.encode()).digest())
    documents = (Document(file.name, read_text(file)) for file in modules if file.stat().st_size <= LONGEST)
    splits: dict[Part, Sequence[Document]] = {"val": _taken(documents, val_characters, "val_characters")}
    splits["train"] = _taken(documents, characters, "characters")
    return _source("standard library", splits, tokenizer_of(None), None, block_size, packed, only)


def _taken(documents: Iterator[Document], characters: int, setting: str) -> list[Document]:
    """The next documents, until they hold so many characters."""
    if characters < 1:
        raise SettingError(f"data.{setting}={characters}: must be 1 or more")
    taken: list[Document] = []
    left = characters
    while left > 0:
        document = next(documents, None)
        if document is None:
            raise SettingError(f"data.{setting}={characters}: the library has {left:,} too few; must be less")
        taken.append(document)
        left -= len(document.text)
    return taken


def divided(documents: Sequence[Document], share: float) -> tuple[list[Document], list[Document]]:
    """Documents to train and to validate on: drawn by their texts, so that the same stay apart wherever files lie.

    One document alone is cut: its end validates.
    """
    if len(documents) == 1:
        name, text = documents[0].name, documents[0].text
        place = len(text) - max(1, round(share * len(text)))
        return [Document(name, text[:place])], [Document(f"{name}, its end", text[place:])]
    held = divide([document.text.encode() for document in documents], share)
    parts = [[document for i, document in enumerate(documents) if (i in held) is wanted] for wanted in (False, True)]
    return parts[0], parts[1]


def divide(contents: Sequence[bytes], share: float) -> set[int]:
    """Places of the samples that validate: a share of all, drawn by what they hold; at least one, and never all.

    Raises:
        SettingError: one sample alone.
    """
    if len(contents) < 2:
        raise SettingError("data.val=null: one sample cannot both train and validate; give data.val=FILE")
    order = sorted(range(len(contents)), key=lambda i: (hashlib.sha256(contents[i]).digest(), i))
    return {*order[: min(len(contents) - 1, max(1, round(share * len(contents))))]}


def _source(
    name: str,
    splits: dict[Part, Sequence[Document]],
    tokenizer: Any,
    place: str | None,
    block_size: int,
    packed: bool,
    only: Only | None,
    gguf_file: str | None = None,
) -> LanguageSource:
    """Training blocks as asked; those that are scored hold a piece of one document each."""
    parts: dict[Part, Blocks] = {}
    for part, documents in wanted(splits, only, f"data {name}").items():
        encoded = [encode_document(tokenizer, document.text) for document in documents]
        names = [document.name for document in documents]
        packs = packed and part == "train"
        parts[part] = Blocks.of(encoded, block_size, packed=packs, tokenizer=tokenizer, names=names)
    counts = ", ".join(f"{len(documents):,} documents to {word}" for documents, word in (
        (splits[part], word) for part, word in (("train", "train on"), ("val", "validate on")) if part in splits
    ))  # fmt: skip
    return LanguageSource.of(name, parts, tokenizer, place, (counts,), gguf_file)


def _documents(path: str, setting: str, column: str) -> list[Document]:
    place = Path(path).expanduser()
    if not place.exists():
        raise SettingError(f"{setting}={path}: no such file or directory")
    files = [place] if place.is_file() else sorted(f for f in place.rglob("*") if f.suffix in SUFFIXES and f.is_file())
    found = []
    for file in files:
        if file.suffix in (".jsonl", ".parquet"):
            rows = text_rows(file, column)
            found += [Document(f"{file.name}:{number}", text) for number, text in rows]
        else:
            found.append(Document(str(file.relative_to(place)) if place.is_dir() else file.name, read_text(file)))
    found = [document for document in found if document.text.strip()]
    if not found:
        raise SettingError(f"{setting}={path}: holds no text; must be a text file, JSONL, Parquet or a folder of such")
    return found


def check_sizes(block_size: int, val_fraction: float) -> None:
    """ValueError for sizes out of their range."""
    if block_size < 2:
        raise ValueError(f"block_size={block_size}: must be 2 or more tokens")
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction={val_fraction}: must be a share, above 0 and below 1")
