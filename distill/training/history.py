"""What was logged of each epoch."""

from collections.abc import Mapping

from torch import Tensor


class History(list[dict[str, float]]):
    """The logged values of each epoch done, its number from 1 as `epoch`; validation's only where there was one."""

    _validated = -1

    def begin(self) -> None:
        """Training starts, or goes on: no epoch has been validated yet."""
        self._validated = -1

    def validated(self, epoch: int) -> None:
        """An epoch, counted from 0, has been validated."""
        self._validated = epoch

    def add_epoch(self, epoch: int, metrics: Mapping[str, Tensor]) -> None:
        """An epoch, counted from 0, is done. metrics: scalars; of validation, perhaps those of an epoch before it."""
        values = {
            name: float(value)
            for name, value in metrics.items()
            if self._validated == epoch or not name.startswith("val/")
        }
        self.append({"epoch": epoch + 1, **values})
