"""Boxes scored as COCO scores them, by pycocotools and torchmetrics, and what a resample or one image would score."""

import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from distill.boxes import Boxes

RECALLS = torch.from_numpy(np.linspace(0, 1, 101))  # at which precision is averaged; bit for bit those of pycocotools
MOST = 100  # detections of a class in an image that count, the surest
AREAS = ("all", "small", "medium", "large")  # below 32^2 pixels, below 96^2, the rest
CHUNK = 1 << 22  # numbers of a table of resamples that are worked on at once


class BoxAveragePrecision(MeanAveragePrecision):
    """COCO's mAP of (N, D, 6) detections against packed boxes (N, M, 7); `merge_state` adds another process's."""

    def __init__(self) -> None:
        # torchmetrics rounds its own thresholds to float32, by which a recall of just 0.2 misses that of 0.2.
        thresholds = {"iou_thresholds": np.linspace(0.5, 0.95, 10).tolist(), "rec_thresholds": RECALLS.tolist()}
        super().__init__(iou_type="bbox", backend="pycocotools", sync_on_compute=False, **thresholds)
        self.warn_on_many_detections = False

    def update(self, answers: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        """Add a batch."""
        truth = Boxes.of(targets)
        scale = truth.scale[:, None, None]
        rows = zip(answers, answers[..., 5] >= 0, answers[..., :4] * scale, strict=True)
        found = [
            {"boxes": corners[there], "scores": answer[there, 4], "labels": answer[there, 5].long()}
            for answer, there, corners in rows
        ]
        given = zip(truth.corners * scale, truth.labels, truth.crowd, truth.labels >= 0, strict=True)
        super().update(
            found,
            [
                {"boxes": corners[there], "labels": labels[there], "iscrowd": crowd[there].long()}
                for corners, labels, crowd, there in given
            ],
        )

    def compute(self) -> Tensor:  # type: ignore[override]
        """Between 0 and 1; 0 where there is no box to find."""
        with redirect_stdout(io.StringIO()):
            found: Tensor = super().compute()["map"]
        return found.clamp(min=0)


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """The D detections of one class in a split, the surest first, against its boxes, at T overlaps from 0.5 to 0.95.

    scores: (D,). images: (D,) the place of each one's image among the N.
    right: (T, D) whether it is the one that found a box. ignored: (T, D) whether it counts neither way.
    positives: (N,) boxes in each image.
    """

    scores: Float[Tensor, "d"]
    images: Int[Tensor, "d"]
    right: Bool[Tensor, "t d"]
    ignored: Bool[Tensor, "t d"]
    positives: Float[Tensor, "n"]

    def average_precision(self, weights: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
        """Mean over the overlaps where image n counts weights[b, n] times; NaN where it leaves no box to find."""
        found = weights @ self.positives
        total = torch.zeros_like(found)
        step = max(1, CHUNK // max(1, len(self.scores)))
        for rows in torch.arange(len(weights)).split(step):
            each = weights[rows][:, self.images]
            for right, ignored in zip(self.right, self.ignored, strict=True):
                counted = each * ~ignored
                total[rows] += _area(counted * right, counted * ~right, found[rows])
        return (total / len(self.right)).where(found > 0, torch.nan)

    def of_image(self, image: int) -> float:
        """Of one image's own detections; NaN where it has no box of the class."""
        count = self.positives[image]
        if count == 0:
            return torch.nan
        own = self.images == image
        right, ignored = self.right[:, own], self.ignored[:, own]
        each = _area((right & ~ignored).double(), (~right & ~ignored).double(), count.expand(len(right)))
        return float(each.mean())


def _area(right: Float[Tensor, "r d"], wrong: Float[Tensor, "r d"], boxes: Float[Tensor, "r"]) -> Float[Tensor, "r"]:
    """Precision, averaged over 101 recalls, of detections that count so much as right and wrong, the surest first."""
    if not right.shape[1]:
        return torch.zeros_like(boxes)
    found, missed = right.cumsum(1), wrong.cumsum(1)
    precision = found / (found + missed).clamp_min(np.spacing(1))
    recall = (found / boxes[:, None].clamp_min(np.spacing(1))).contiguous()
    best = precision.flip(1).cummax(1).values.flip(1)
    place = torch.searchsorted(recall, RECALLS.expand(len(recall), -1).contiguous())
    reached = place < recall.shape[1]
    return best.gather(1, place.clamp(max=recall.shape[1] - 1)).where(reached, 0.0).mean(1)


@dataclass(frozen=True, slots=True)
class CocoScores:
    """What a network's detections are worth.

    values: 'map', 'map_50', 'map_75', 'map_small', 'map_medium' and 'map_large'; None where no box is of that size.
    classes: (C,) the average precision of each class, NaN where no image has it.
    matches: of each class.
    """

    values: dict[str, float | None]
    classes: Float[Tensor, "c"]
    matches: list[ClassMatches]

    @classmethod
    def of(cls, truth: Sequence[Tensor], found: Sequence[Tensor], classes: int) -> "CocoScores":
        """Of N images.

        Args:
            truth: for each image (m, 6): left, top, right, bottom, label, crowd, in pixels of its file.
            found: for each image (d, 6): left, top, right, bottom, score, label.
            classes: how many there are.
        """
        categories = [{"id": number} for number in range(classes)]
        images = [{"id": number} for number in range(len(truth))]
        given = _annotations(truth, lambda row: {"category_id": int(row[4]), "iscrowd": int(row[5])})
        said = _annotations(found, lambda row: {"category_id": int(row[5]), "iscrowd": 0, "score": row[4]})
        with redirect_stdout(io.StringIO()):
            known, detected = COCO(), COCO()
            for coco, annotations in ((known, given), (detected, said)):
                coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
                coco.createIndex()
            scoring = COCOeval(known, detected, "bbox")
            scoring.evaluate()
            scoring.accumulate()
        precision = torch.from_numpy(scoring.eval["precision"])[..., -1].double()  # (overlaps, recalls, classes, areas)
        precision = precision.where(precision >= 0, torch.nan)
        values = {"map": _mean(precision[..., 0]), "map_50": _mean(precision[0, ..., 0])}
        values["map_75"] = _mean(precision[5, ..., 0])
        values |= {f"map_{area}": _mean(precision[..., place]) for place, area in enumerate(AREAS) if place}
        matches = [_class_matches(scoring.evalImgs, number, len(truth)) for number in range(classes)]
        return cls(values, precision[..., 0].mean((0, 1)), matches)

    def metric(self, weights: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
        """mAP over the classes that a resample has."""
        return torch.stack([match.average_precision(weights) for match in self.matches]).nanmean(0)


def _annotations(images: Sequence[Tensor], rest: Any) -> list[dict[str, Any]]:
    """In COCO's own form, with boxes as left, top, width and height."""
    rows = [(image, row) for image, table in enumerate(images) for row in table.double().tolist()]
    return [
        {
            "id": number,
            "image_id": image,
            "bbox": [row[0], row[1], row[2] - row[0], row[3] - row[1]],
            "area": (row[2] - row[0]) * (row[3] - row[1]),
            **rest(row),
        }
        for number, (image, row) in enumerate(rows, start=1)  # pycocotools takes a match with number 0 for none
    ]


def _mean(precision: Tensor) -> float | None:
    known = precision[~precision.isnan()]
    return float(known.mean()) if len(known) else None


def _class_matches(images: Sequence[dict[str, Any] | None], number: int, count: int) -> ClassMatches:
    """Of pycocotools' results for each class, range of areas and image, in this order."""
    start = number * len(AREAS) * count
    own = images[start : start + count]
    scores, places, right, ignored = ([part] for part in _nothing())
    positives = torch.zeros(count, dtype=torch.float64)
    for place, image in enumerate(own):
        if image is None:
            continue
        positives[place] = float((np.asarray(image["gtIgnore"]) == 0).sum())
        scores.append(torch.tensor(image["dtScores"][:MOST], dtype=torch.float64))
        places.append(torch.full((len(scores[-1]),), place))
        right.append(torch.from_numpy(image["dtMatches"][:, :MOST]) > 0)
        ignored.append(torch.from_numpy(image["dtIgnore"][:, :MOST]) > 0)
    order = torch.cat(scores).argsort(descending=True, stable=True)
    sorted_scores, where, found, left_out = (torch.cat(p, -1)[..., order] for p in (scores, places, right, ignored))
    return ClassMatches(sorted_scores, where, found, left_out, positives)


def _nothing() -> Iterator[Tensor]:
    """Scores, places, rights and ignored of no detection."""
    yield torch.empty(0, dtype=torch.float64)
    yield torch.empty(0, dtype=torch.long)
    for _ in range(2):
        yield torch.empty(10, 0, dtype=torch.bool)
