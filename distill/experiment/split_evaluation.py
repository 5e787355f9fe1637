"""The scores of a run's networks on one split, gathered batch by batch; all logits are kept for no metric but mAP."""

from collections.abc import Iterable

import torch

from distill.data import Source
from distill.experiment.network_predictions import Predictions
from distill.report import SplitResult
from distill.tasks.disagreements import Disagreements
from distill.tasks.evaluation import Evaluation, Standing
from distill.tasks.evidence import Gain
from distill.tasks.side_by_side import SideBySide
from distill.tasks.temperature import TemperatureScaling


class SplitEvaluation:
    """Of the networks that answer for the data's classes.

    Args:
        source: whose validation split is looked at.
        predictions: of all networks, batch by batch; 'student' is among them.

    Attributes:
        networks: what each is worth, by name.
        disagreements: between teacher and student; None without a teacher.
        side_by_side: student and teacher, decision by decision; None where answers are no classes.
        scaling: of each network's logits by temperatures.
    """

    def __init__(self, source: Source, predictions: Iterable[Predictions]) -> None:
        self.source = source
        self.networks: dict[str, Evaluation] = {}
        self.disagreements: Disagreements | None = None
        self.side_by_side: SideBySide | None = None
        self.scaling: dict[str, TemperatureScaling] = {}
        for batch in predictions:
            self._add(batch)

    def _add(self, batch: Predictions) -> None:
        task, teacher = self.source.task, batch.logits.get("teacher")
        for name, logits in batch.logits.items():
            if name not in self.networks:
                self.networks[name] = task.evaluation(self.source.num_classes)
            self.networks[name].update(logits, batch.targets, None if name == "teacher" else teacher)
        if teacher is not None:
            self.disagreements = self.disagreements or Disagreements()
            self.disagreements.add(task, batch.indices, batch.targets, batch.logits, self.source.class_names)
        self._add_decisions(batch)

    @torch.no_grad()  # of some logits the last layer's weights are a part
    def _add_decisions(self, batch: Predictions) -> None:
        task = self.source.task
        found = {name: task.decisions(logits, batch.targets) for name, logits in batch.logits.items()}
        decided = {name: each for name, each in found.items() if each is not None}
        for name, each in decided.items():
            self.scaling.setdefault(name, TemperatureScaling(task.compared_with_right)).add(each)
        if {"student", "teacher"} <= decided.keys() and "exclusive classes" in task.traits:
            self.side_by_side = self.side_by_side or SideBySide()
            self.side_by_side.add(decided["student"], decided["teacher"])

    def standing(self, name: str) -> Standing:
        """How a network compares with guessing."""
        return self.networks[name].standing(self.source.task.chance(self.source.val.targets)).of(self.source.noun)

    def by_class(self) -> dict[str, dict[str, float | None]]:
        """For each class that occurs, how many images have it, and the score of each network for it."""
        found = {name: evaluation.by_class() for name, evaluation in self.networks.items()}
        counts, _ = found["student"]
        names = self.source.class_names
        return {
            str(names[i]): {"count": int(counts[i]), **{name: float(scores[i]) for name, (_, scores) in found.items()}}
            for i in counts.nonzero().flatten().tolist()
        }

    def result(self, name: str) -> SplitResult:
        """What the report says of it, as the split of this name."""
        gain = None
        if "baseline" in self.networks:
            gain = Gain.of(
                self.source.task.metric, self.networks["student"], self.networks["baseline"], self.source.groups
            )
        return SplitResult(
            name=name,
            task=self.source.task,
            count=self.networks["student"].count,
            networks={name: evaluation.scored() for name, evaluation in self.networks.items()},
            gain=gain,
            disagreements=self.disagreements,
            classes=self.by_class(),
            class_names=list(map(str, self.source.class_names)),
            side_by_side=self.side_by_side,
            scaled={name: each for name, scaling in self.scaling.items() if (each := scaling.result()) is not None},
        )
