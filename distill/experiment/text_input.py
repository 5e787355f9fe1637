"""Texts of a file as a finished run's networks take them, of which nothing is known but the text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.data.language.readers import read_text
from distill.data.language.tokenizer import tokenizer_of
from distill.data.tables import SUFFIXES, Column, Row, read_rows
from distill.data.text_table import text_of
from distill.data.text_tokens import tokens_of
from distill.data.token_format import TokenFormat
from distill.data.token_source import TokenSource
from distill.errors import SettingError
from distill.experiment.finished import FinishedRun

LINES = ".txt"


def text_input(place: Path, finished: FinishedRun, form: TokenFormat) -> TokenSource:
    """The texts of a table, in the columns that the run's own data has them in, or the lines of a text file.

    Args:
        place: .csv, .tsv, .jsonl or .parquet, or .txt with a text on each line.
        finished: the run.
        form: what its samples were.

    Raises:
        SettingError: a run of another kind, a file that isn't there or cannot be read, an empty text.
    """
    own: Mapping[str, Any] = finished.data.target
    if "text" not in own:
        raise SettingError(
            f"run={finished.directory}: a {finished.task.name} run names no classes of texts; "
            "scripts/export.py format=hf writes its student for the text generation of transformers"
        )
    columns: dict[str, Column] = {"data.text": own["text"]}
    if own.get("pair") is not None:
        columns["data.pair"] = own["pair"]
    rows = _rows(place, columns)
    if not rows:
        raise SettingError(f"input={place}: holds no text")
    texts, *pairs = ([text_of(row, column) for row in rows] for column in columns.values())
    blank = finished.task.blank(len(rows), len(finished.student.classes))
    tokenizer, names = tokenizer_of(form.tokenizer, form.gguf_file), [row.place for row in rows]
    split, _ = tokens_of(tokenizer, texts, pairs[0] if pairs else None, blank, names, form.max_length)
    return TokenSource(
        "input", split, split, finished.student.classes, task=finished.task, format=form, tokenizer=tokenizer
    )


def _rows(place: Path, columns: Mapping[str, Column]) -> list[Row]:
    if place.suffix != LINES:
        if place.suffix not in SUFFIXES:
            raise SettingError(f"input={place}: must be {LINES} with a text on each line, or {', '.join(SUFFIXES)}")
        return read_rows(place, "input", columns)
    if not place.is_file():
        raise SettingError(f"input={place}: no such file; must be {LINES} with a text on each line, or a table")
    if len(columns) > 1:
        raise SettingError(f"input={place}: the run takes pairs of texts; must be a table: {', '.join(SUFFIXES)}")
    (column,) = columns.values()
    lines = enumerate(read_text(place).splitlines(), 1)
    return [Row(f"{place.name}:{number}", {column: line}) for number, line in lines if line.strip()]
