"""The labels of rows of a table: classes by name, or numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from distill.data.source import Part
from distill.data.tables import Column, Row
from distill.errors import SettingError, suggestion
from distill.tasks import Classification, Regression, Task

Kind = Literal["auto", "classes", "number"]


@dataclass(frozen=True, slots=True)
class Labels:
    """targets: by split, (N,) int64 classes or float32 numbers. names: of the classes; one of numbers. task: which."""

    targets: dict[Part, Tensor]
    names: list[str]
    task: Task


def labels_of(
    parts: Mapping[Part, Sequence[Row]], column: Column, kind: Kind = "auto", classes: Sequence[str] | None = None
) -> Labels:
    """The labels of each split's rows.

    Args:
        parts: rows by split, of which the first one says what labels are and which classes there are.
        column: of the labels.
        kind: "auto": numbers where one of them is no whole number, else classes.
        classes: their names, in the order of the outputs; None: those of the first split, sorted.

    Raises:
        SettingError: a row without a label, a label that is no number or none of the classes.
    """
    said = {part: [_label(row, column) for row in rows] for part, rows in parts.items()}
    first = next(iter(said.values()))
    if kind == "number" or (kind == "auto" and classes is None and _are_numbers(first)):
        return Labels({part: _numbers(parts[part], said[part]) for part in parts}, ["value"], Regression())
    names = _class_names(classes, first)
    return Labels({part: _classes(parts[part], said[part], names) for part in parts}, names, Classification())


def _label(row: Row, column: Column) -> str:
    value = row.cells[column]
    told = "" if value is None else str(value).strip()
    if not told:
        raise SettingError(f"{row.place}: its {column} is empty; leave rows without a label out")
    return told


def _are_numbers(labels: Sequence[str]) -> bool:
    """Whether all are numbers, and one of them is no whole one."""
    values = [_number(label) for label in labels]
    return None not in values and any(not label.lstrip("+-").isdigit() for label in labels)


def _number(label: str) -> float | None:
    try:
        value = float(label)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _numbers(rows: Sequence[Row], labels: Sequence[str]) -> Tensor:
    """(N,) float32."""
    values = []
    for row, label in zip(rows, labels, strict=True):
        value = _number(label)
        if value is None:
            raise SettingError(f"{row.place}: its label {label!r} is no number; data.labels=classes takes names")
        values.append(value)
    return torch.tensor(values, dtype=torch.float32)


def _class_names(given: Sequence[str] | None, labels: Sequence[str]) -> list[str]:
    """Numbers by their size, names by the alphabet."""
    if given is not None:
        names = [*map(str, given)]
        if len(set(names)) < len(names) or not names:
            raise SettingError(f"data.classes={names}: must be the names of the classes, each once")
        return names
    found = {*labels}
    whole = all(label.lstrip("+-").isdigit() for label in found)
    return sorted(found, key=lambda label: (int(label), label)) if whole else sorted(found)


def _classes(rows: Sequence[Row], labels: Sequence[str], names: Sequence[str]) -> Tensor:
    """(N,) int64."""
    numbers = {name: number for number, name in enumerate(names)}
    for row, label in zip(rows, labels, strict=True):
        if label not in numbers:
            raise SettingError(
                f"{row.place}: its label {label!r} is none of the classes{suggestion(label, names)}; "
                "data.classes=[...] names all"
            )
    return torch.tensor([numbers[label] for label in labels])
