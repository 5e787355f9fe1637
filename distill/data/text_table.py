"""Texts with a class or a number each, from tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from distill.data.huggingface import open_splits, split_names
from distill.data.language.tokenizer import tokenizer_of
from distill.data.order import share_of_each_class
from distill.data.parts import wanted
from distill.data.positions import positions_in
from distill.data.source import Only, Part
from distill.data.tables import Column, Row, read_rows
from distill.data.text_labels import Kind, labels_of
from distill.data.text_tokens import tokens_of
from distill.data.token_format import TokenFormat
from distill.data.token_source import TokenSource
from distill.data.tokens import Tokens
from distill.errors import SettingError, suggestion

LONGEST = 128  # tokens of a text where nothing is said


def text_table(
    *,
    text: Column,
    label: Column,
    train: str | None = None,
    val: str | None = None,
    test: str | None = None,
    pair: Column | None = None,
    labels: Kind = "auto",
    classes: Sequence[str] | None = None,
    val_fraction: float = 0.1,
    tokenizer: str | None = None,
    max_length: int | None = None,
    only: Only | None = None,
) -> TokenSource:
    """Texts, or pairs of texts, with a class or a number each.

    Args:
        text, pair, label: columns by name; by place from 0 in CSV and TSV files whose first line names none.
        train, val, test: tables (.csv, .tsv, .jsonl, .parquet); `train` may be the directory of a Hugging Face data
            set, whose other splits are taken too.
        labels: what labels are; "auto": numbers where one of the training split's is no whole number, else classes.
        classes: their names, in the order of the outputs; None: those of the training split, sorted.
        val_fraction: share of each class of the training split that validates where there is no `val`.
        tokenizer: directory of a fast tokenizer of `transformers`.
        max_length: tokens of a sample; longer ones are cut. None: 128, or as many as a model beside the tokenizer has
            positions.
        only: the one split that is wanted, which then stands for all.

    Raises:
        SettingError: a file, column or tokenizer isn't there or cannot be read, an empty text, a label that is none.
        ValueError: a setting out of its range.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction={val_fraction}: must be above 0 and below 1")
    if max_length is not None and max_length < 1:
        raise ValueError(f"max_length={max_length}: must be 1 or more tokens")
    if tokenizer is None:
        raise SettingError(
            "data.tokenizer=null: give the directory of a tokenizer, or teacher.path=DIR, whose is taken"
        )
    made = tokenizer_of(tokenizer)
    max_length = max_length or min(LONGEST, positions_in(Path(tokenizer)) or LONGEST)
    columns = {"data.text": text, "data.label": label, **({} if pair is None else {"data.pair": pair})}
    parts = _parts({"train": train, "val": val, "test": test}, columns, only)
    labels_found = labels_of(parts, label, labels, classes)
    targets, task = labels_found.targets, labels_found.task
    if only is None and "val" not in parts:
        held = share_of_each_class(task.strata(targets["train"]), val_fraction, seed=0)
        rest = torch.ones(len(targets["train"]), dtype=torch.bool).index_fill(0, held, False).nonzero().flatten()
        rows, known = parts["train"], targets["train"]
        parts |= {"train": [rows[i] for i in rest.tolist()], "val": [rows[i] for i in held.tolist()]}
        targets |= {"train": known[rest], "val": known[held]}
    splits: dict[Part, Tokens] = {}
    notes = []
    for part, rows in parts.items():
        texts = [text_of(row, text) for row in rows]
        second = None if pair is None else [text_of(row, pair) for row in rows]
        splits[part], cut = tokens_of(made, texts, second, targets[part], [row.place for row in rows], max_length)
        if cut:
            notes.append(f"{cut:,} of {len(rows):,} {part} texts are cut to {max_length} tokens (data.max_length)")
    alone = next(iter(splits.values()))
    return TokenSource(
        name=Path(next(path for path in (train, val, test) if path is not None)).stem,
        train=splits.get("train", alone),
        val=splits.get("val", alone),
        class_names=labels_found.names,
        test=splits.get("test"),
        notes=notes,
        task=task,
        format=TokenFormat(tokenizer, max_length, tuple(alone.columns)),
        tokenizer=made,
    )


def _parts(given: Mapping[Part, str | None], columns: Mapping[str, Column], only: Only | None) -> dict[Part, list[Row]]:
    """The rows of each split that is wanted; none is empty."""
    paths: dict[Part, str] = {part: path for part, path in given.items() if path is not None}
    if only is None and "train" not in paths:
        raise SettingError("data.train=null: give a table: data.train=FILE, and data.val=FILE if there is one")
    found: dict[Part, Any] = {}
    if "train" in paths and Path(paths["train"]).is_dir():
        directory = paths.pop("train")
        splits = open_splits(directory, None)
        found = {part: splits[name] for part, name in split_names(directory, splits, "train", None, only).items()}
    found |= paths
    rows: dict[Part, list[Row]] = {}
    for part, place in wanted(found, only, "data=text_table").items():
        if part in paths:
            rows[part] = read_rows(Path(place).expanduser(), f"data.{part}", columns)
        else:
            rows[part] = _hub_rows(place, f"{given['train']}: {part}", columns)
        if not rows[part]:
            raise SettingError(f"data.{part}={given[part]}: holds no row")
    return rows


def _hub_rows(split: Any, where: str, columns: Mapping[str, Column]) -> list[Row]:
    """Rows of a Hugging Face data set; classes by their names."""
    for setting, column in columns.items():
        if column not in split.features:
            near = suggestion(str(column), split.features)
            raise SettingError(f"{setting}={column}: {where} has no such column{near}")
    names = {column: getattr(split.features[column], "names", None) for column in columns.values()}
    cells = {column: split[column][:] for column in columns.values()}
    for column, known in names.items():
        if known is not None:
            cells[column] = [known[value] if value is not None and value >= 0 else None for value in cells[column]]
    rows = zip(*cells.values(), strict=True)
    return [Row(f"{where}[{i}]", dict(zip(cells, row, strict=True))) for i, row in enumerate(rows)]


def text_of(row: Row, column: Column) -> str:
    """The text in a column of a row; SettingError where there is none."""
    value = row.cells[column]
    if not isinstance(value, str) or not value.strip():
        told = "is empty" if value is None or isinstance(value, str) else f"is {value!r}, not text"
        raise SettingError(f"{row.place}: its {column} {told}; leave such rows out, or give them a text")
    return value
