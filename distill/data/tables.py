"""Rows of tables: CSV and TSV, JSONL, Parquet, and Hugging Face data sets on disk."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.data.language.readers import read_text, rows_of
from distill.errors import SettingError, suggestion

Column = str | int
"""A column's name; or its place from 0, in a CSV or TSV file whose first line names no columns."""

CELL = 1 << 24  # letters that a cell of a CSV file may have
SEPARATED = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*SEPARATED, ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: where it is, for messages, and its cells by the columns that were asked for."""

    place: str
    cells: Mapping[Column, Any]


def read_rows(file: Path, setting: str, columns: Mapping[str, Column]) -> list[Row]:
    """Some columns of a file.

    Args:
        file: .csv or .tsv (in TSV quotes are letters as others), .jsonl or .parquet; text is UTF-8.
        setting: that names the file, for messages: 'data.train'.
        columns: by the setting that names each: {'data.text': 'sentence'}.

    Raises:
        SettingError: there is no such file or column, or it cannot be read; in text files with the line at fault.
    """
    if not file.is_file():
        raise SettingError(f"{setting}={file}: no such file; must be a table: {', '.join(SUFFIXES)}")
    if file.suffix not in SUFFIXES:
        raise SettingError(f"{setting}={file}: must be a table: {', '.join(SUFFIXES)}")
    places = [name for name, column in columns.items() if isinstance(column, int)]
    if places and (file.suffix not in SEPARATED or len(places) < len(columns)):
        raise SettingError(
            f"{places[0]}={columns[places[0]]}: a number is a column's place in CSV and TSV files without a line of "
            "names, and then of all columns; here give its name"
        )
    found: Iterable[tuple[int, Mapping[Any, Any]]]
    found = _separated(file, named=not places) if file.suffix in SEPARATED else rows_of(file)
    return [Row(f"{file.name}:{line}", _chosen(row, f"{file}, line {line}", columns)) for line, row in found]


def _chosen(row: Mapping[Any, Any], where: str, columns: Mapping[str, Column]) -> dict[Column, Any]:
    for setting, column in columns.items():
        if column not in row:
            known = suggestion(str(column), map(str, row))
            raise SettingError(f"{setting}={column}: {where} has no such column{known}")
    return {column: row[column] for column in columns.values()}


def _separated(file: Path, *, named: bool) -> Iterator[tuple[int, Mapping[Column, str]]]:
    """Rows with their last lines' numbers, from 1."""
    csv.field_size_limit(CELL)
    tabs = file.suffix == ".tsv"
    options: Any = {"quoting": csv.QUOTE_NONE} if tabs else {"strict": True}
    reader = csv.reader(io.StringIO(read_text(file), newline=""), delimiter=SEPARATED[file.suffix], **options)
    heads: Sequence[Column] | None = None
    try:
        for cells in reader:
            if not cells:
                continue
            if heads is None:
                heads = cells if named else range(len(cells))
                if named:
                    continue
            if len(cells) != len(heads):
                raise SettingError(
                    f"{file}, line {reader.line_num}: has {len(cells)} cells, and must have {len(heads)}"
                )
            yield reader.line_num, dict(zip(heads, cells, strict=True))
    except csv.Error as error:
        raise SettingError(f"{file}, line {reader.line_num}: cannot be read ({error})") from None
