"""What validation and tests measure: means over samples, and what only the whole split tells."""

from collections.abc import Callable

from torch import Tensor

from distill.tasks import Task
from distill.training.running import RunningMeans
from distill.types import Batch, Outputs


class Validation:
    """Of one network on one split, gathered batch by batch.

    Args:
        task: what its labels are.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._means = RunningMeans()
        self._metrics = task.epoch_metrics()

    def add(self, outputs: Outputs, answers: Outputs | None, batch: Batch) -> None:
        """Add a batch; `answers` are the teacher's, None without one."""
        own = outputs.answers()
        values = self.task.measure_unseen(own, answers, batch.targets)
        self._means.add(values, weight=len(batch))
        for metric in self._metrics.values():
            metric.to(batch.device).update(own, batch.targets)

    def epoch(self, add_up: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """All values since the last call, over all processes; `add_up` gives the sum of a vector over them."""
        values = self._means.epoch(add_up)
        for name, metric in self._metrics.items():
            values[name] = float(metric.compute())
            metric.reset()
        return values
