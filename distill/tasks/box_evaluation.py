"""What one detector is worth on one split: COCO's scores, calibration, agreement with the teacher."""

from functools import cached_property

import torch
from torch import Tensor

from distill.boxes import Boxes, count_pairs, in_the_file, named_boxes
from distill.tasks.coco import CocoScores
from distill.tasks.evaluation import Curve, Evaluation, Scored, Standing

THRESHOLDS = torch.linspace(0, 1, 101, dtype=torch.float64)
DOUBT = 2.0  # times what the same detections get on other images


class BoxEvaluation(Evaluation):
    """Of (n, D, 6) detections against packed boxes (n, M, 7); sizes and overlaps are those in the images' files."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self._truth: list[Tensor] = []
        self._found: list[Tensor] = []
        self._agreement = torch.zeros(2, dtype=torch.float64)  # boxes that both name, twice; boxes that either names
        self._calibrated = False

    def update(self, logits: Tensor, targets: Tensor, teacher: Tensor | None) -> None:
        """Add a batch; `logits` and `teacher` are detections."""
        boxes = Boxes.of(targets)
        scale = boxes.scale[:, None, None]
        truth = torch.cat([boxes.corners * scale, targets[..., 4:6]], -1)
        self.count += len(targets)
        self._truth += [rows[rows[:, 4] >= 0] for rows in truth]
        self._found += [rows[rows[:, 5] >= 0] for rows in in_the_file(logits, targets)]
        self.__dict__.pop("coco", None)
        if teacher is not None:
            for ours, theirs in zip(named_boxes(logits), named_boxes(teacher), strict=True):
                both = 2 * count_pairs(ours, theirs)
                self._agreement += torch.tensor([both, len(ours) + len(theirs)], dtype=torch.float64)

    @cached_property
    def coco(self) -> CocoScores:
        """COCO's scores."""
        return CocoScores.of(self._truth, self._found, self.classes)

    def scored(self) -> Scored:
        """COCO's scores, with agreement: the share of the boxes that student and teacher name which both name."""
        scores, right = self._detections()
        if not self._calibrated:
            self.calibration.add(scores, right)
            self._calibrated = True
        both, either = self._agreement.tolist()
        values = {
            **self.coco.values,
            "ece": self.calibration.error if len(scores) else None,
            "agreement": both / either if either else None,
            "kl": None,
        }
        return Scored(values, None, self.calibration, self._curve(scores, right))

    def _detections(self) -> tuple[Tensor, Tensor]:
        """The score of each detection that counts, and whether it found a box, by an overlap of a half."""
        counted = [~match.ignored[0] for match in self.coco.matches]
        scores = torch.cat([match.scores[kept] for match, kept in zip(self.coco.matches, counted, strict=True)])
        right = torch.cat([match.right[0][kept] for match, kept in zip(self.coco.matches, counted, strict=True)])
        return scores, right

    def _curve(self, scores: Tensor, right: Tensor) -> Curve:
        there = sum(float(match.positives.sum()) for match in self.coco.matches)
        named = torch.tensor([int((scores >= threshold).sum()) for threshold in THRESHOLDS]).double()
        found = torch.tensor([int(right[scores >= threshold].sum()) for threshold in THRESHOLDS]).double()
        lines = {
            "precision": found / named.clamp_min(1),
            "recall": found / max(1.0, there),
            "F1": 2 * found / (named + there).clamp_min(1),
        }
        return Curve("a box is named from this score on", "threshold", THRESHOLDS, lines)

    def metric(self, weights: Tensor) -> Tensor:
        """mAP over the classes that a resample has."""
        return self.coco.metric(weights)

    @property
    def samples(self) -> Tensor:
        """(N,) float64: each image's own mAP, over the classes that it has; of one without boxes, how little it claims:
        one less its highest score."""
        own = torch.tensor([[match.of_image(place) for match in self.coco.matches] for place in range(self.count)])
        claims = torch.stack([1 - found[:, 4].max() if len(found) else torch.ones(()) for found in self._found])
        mean: Tensor = own.double().nanmean(1)
        return mean.where(~mean.isnan(), claims.double())

    def by_class(self) -> tuple[Tensor, Tensor]:
        """How many boxes there are of each class, and its average precision."""
        return torch.stack([match.positives.sum() for match in self.coco.matches]).long(), self.coco.classes

    def standing(self, chance: float) -> Standing:
        """Against the same detections on other images."""
        score = self.coco.values["map"] or 0.0
        others = CocoScores.of(self._truth, self._found[1:] + self._found[:1], self.classes).values["map"] or 0.0
        return Standing(score, self.count, chance, score > DOUBT * others)
