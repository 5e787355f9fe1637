"""What networks say of each image and of each class."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.data.source import ImageSource
from distill.experiment.network_predictions import Predictions
from distill.files import write_text


def by_class(answers: Mapping[str, Predictions], class_names: Sequence[str]) -> dict[str, dict[str, float]]:
    """For each class that occurs, how many images it has, and the share of them that each network names right.

    Args:
        answers: by network, of the same images.
        class_names: in the order of the logits.
    """
    targets = answers["student"].targets
    counts = targets.bincount(minlength=len(class_names))
    right = {
        name: targets[given.logits.argmax(1) == targets].bincount(minlength=len(class_names))
        for name, given in answers.items()
    }
    return {
        label: {"count": int(counts[i]), **{name: int(found[i]) / int(counts[i]) for name, found in right.items()}}
        for i, label in enumerate(class_names)
        if counts[i]
    }


def write_predictions(path: Path, answers: Mapping[str, Predictions], source: ImageSource) -> None:
    """Write a CSV file with a line for each image: its name and class, the student's and the teacher's for it."""
    student, teacher = answers["student"], answers.get("teacher")
    shares, named = student.logits.softmax(1).max(1)
    by_teacher = [None] * len(named) if teacher is None else teacher.logits.argmax(1).tolist()
    label = source.class_names
    rows = [
        (source.val.name(index), label[target], label[best], f"{share:.6f}", "" if other is None else label[other])
        for index, target, best, share, other in zip(
            student.indices.tolist(), student.targets.tolist(), named.tolist(), shares.tolist(), by_teacher, strict=True
        )
    ]
    write_table(path, ("name", "target", "predicted", "probability", "teacher"), rows)


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file whole."""
    write_text(path, table_of(columns, rows))


def table_of(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()
