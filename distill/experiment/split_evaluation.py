"""The scores of a run's networks on one split, gathered batch by batch; all logits are kept for no metric but mAP."""

from collections.abc import Iterable

from distill.data import Source
from distill.experiment.network_predictions import Predictions
from distill.report import SplitResult
from distill.tasks.disagreements import Disagreements
from distill.tasks.evaluation import Evaluation, Standing
from distill.tasks.evidence import Gain


class SplitEvaluation:
    """Of the networks that answer for the data's classes.

    Args:
        source: whose validation split is looked at.
        predictions: of all networks, batch by batch; 'student' is among them.

    Attributes:
        networks: what each is worth, by name.
        disagreements: between teacher and student; None without a teacher.
    """

    def __init__(self, source: Source, predictions: Iterable[Predictions]) -> None:
        self.source = source
        self.networks: dict[str, Evaluation] = {}
        self.disagreements: Disagreements | None = None
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
            self.disagreements.add(
                task, batch.indices, batch.targets, batch.logits["student"], teacher, self.source.class_names
            )

    def standing(self, name: str) -> Standing:
        """How a network compares with guessing."""
        return self.networks[name].standing(self.source.task.chance(self.source.val.targets))

    def by_class(self) -> dict[str, dict[str, float | None]]:
        """For each class that occurs, how many images have it, and the score of each network for it."""
        found = {name: evaluation.by_class() for name, evaluation in self.networks.items()}
        counts, _ = found["student"]
        return {
            str(label): {"count": int(counts[i]), **{name: float(scores[i]) for name, (_, scores) in found.items()}}
            for i, label in zip(range(len(counts)), self.source.class_names, strict=False)  # of no token, or of all
            if counts[i]
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
        )
