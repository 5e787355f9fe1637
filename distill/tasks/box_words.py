"""Boxes in a few words, and in JSON."""

import json
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from distill.boxes import Boxes


def as_detections(target: Tensor) -> Tensor:
    """(m, 6) the boxes of one image as if they were detections."""
    rows = target[Boxes.of(target[None]).there[0]]
    return torch.cat([rows[:, :4], torch.ones_like(rows[:, :1]), rows[:, 4:5]], 1)


def counted(labels: Tensor, class_names: Sequence[str]) -> str:
    """'2 RBC, 1 WBC' in a few characters."""
    found = Counter(labels.long().tolist())
    text = ", ".join(f"{count} {class_names[label]}" for label, count in sorted(found.items())) or "nothing"
    return text if len(text) <= 22 else f"{text[:21]}…"


def scaled(rows: Tensor, factor: Tensor) -> Tensor:
    """(m, 6) boxes in pixels so many times as small."""
    return torch.cat([rows[:, :4] * factor, rows[:, 4:]], 1)


def in_json(rows: Tensor, class_names: Sequence[str]) -> str:
    """(m, 6) boxes; rows without a label are left out."""
    found = [
        {"label": str(class_names[int(label)]), "score": round(score, 4), "box": [round(edge, 2) for edge in box]}
        for *box, score, label in rows.tolist()
        if label >= 0
    ]
    return json.dumps(found)
