"""Text from files, with the line at fault where one cannot be read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.errors import SettingError


def read_text(file: Path) -> str:
    """A text file, UTF-8.

    Raises:
        SettingError: it isn't; the line is named.
    """
    data = file.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        said = f"is not UTF-8 (byte {data[error.start]:#04x}); save it as such"
        raise SettingError(f"{file}, line {line}: {said}") from None


def json_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with their lines' numbers, from 1; empty lines are left out.

    Raises:
        SettingError: a line that is no JSON object.
    """
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise SettingError(f"{file}, line {number}: is no JSON ({error.msg})") from None
        if not isinstance(row, dict):
            raise SettingError(f"{file}, line {number}: must be a JSON object, and is a {type(row).__name__}")
        yield number, row


def rows_of(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a JSONL or Parquet file, numbered from 1.

    Raises:
        SettingError: it cannot be read.
    """
    if file.suffix != ".parquet":
        yield from json_rows(file)
        return
    try:
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        raise SettingError(f'{file}: needs a package that is not installed: pip install -e ".[language]"') from error
    try:
        rows = parquet.read_table(file).to_pylist()
    except Exception as error:  # of whatever lies there
        raise SettingError(f"{file}: cannot be read as Parquet: {error}") from error
    yield from enumerate(rows, 1)


def text_rows(file: Path, column: str) -> Iterator[tuple[int, str]]:
    """The texts in a column, with their numbers.

    Raises:
        SettingError: a row without one.
    """
    for number, row in rows_of(file):
        text = row.get(column)
        if not isinstance(text, str):
            raise SettingError(
                f"{file}, line {number}: has no text {column!r}, but {', '.join(map(repr, row)) or 'nothing'}; "
                "data.text_column names it"
            )
        yield number, text
