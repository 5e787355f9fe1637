"""What validation and tests measure: means over samples, and what only the whole split tells."""

from typing import Any

from distill.processes import of_all_processes
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
        if any(metric.sync_on_compute for metric in self._metrics.values()):
            raise ValueError(f"{type(task).__name__}.epoch_metrics: must be made with sync_on_compute=False")

    def add(self, outputs: Outputs, answers: Outputs | None, batch: Batch) -> None:
        """Add a batch; `answers` are the teacher's, None without one."""
        own = outputs.answers()
        values = self.task.measure_unseen(own, answers, batch.targets)
        self._means.add(values, weight=len(batch) if batch.valid is None else int(batch.valid.sum()))
        for metric in self._metrics.values():
            metric.to(batch.device).update(own, batch.targets)

    def epoch(self, split: str) -> dict[str, float]:
        """All values since the last call, over all processes, which have to ask at once, as SPLIT/NAME.

        Each tells the others all that it has in one go, so that one that saw no batch keeps no other waiting.
        """
        parts = of_all_processes((*self._means.totals(), {n: metric.cpu() for n, metric in self._metrics.items()}))
        weight = sum(weight for _, weight, _ in parts)
        values = {name: sum(totals.get(name, 0.0) for totals, *_ in parts) / weight for name in _names(parts)}
        for name, metric in self._metrics.items():
            gathered = [metrics[name] for *_, metrics in parts if metrics[name].update_called]
            for other in gathered[1:]:
                gathered[0].merge_state(other)
            if gathered:
                values[name] = float(gathered[0].compute())
            metric.reset()
        return {f"{split}/{name}": value for name, value in values.items()}


def _names(parts: list[Any]) -> list[str]:
    """What was measured, by a process that saw a batch."""
    return next((list(totals) for totals, weight, _ in parts if weight), [])
