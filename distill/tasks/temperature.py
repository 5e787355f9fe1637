"""How well calibrated a network is once its logits are divided by the temperature that fits best (1706.04599)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.tasks.calibration import Calibration
from distill.tasks.decisions import Decisions

TEMPERATURES = torch.logspace(-2, 3, 26, base=2.0)  # 0.25 to 8, each 15 % above the one before
AS_IT_IS = int((TEMPERATURES - 1).abs().argmin())

Compared = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Of (rows, C) probabilities and (rows,) classes what calibration compares: (rows,) confidences, and bool if right."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """A network before and after it was scaled.

    temperature: that fits all decisions best. loss, scaled_loss: mean negative log-likelihood, nats.
    calibration, scaled: how often it is right when it says how sure it is.
    """

    temperature: float
    loss: float
    scaled_loss: float
    calibration: Calibration
    scaled: Calibration


class TemperatureScaling:
    """Sums over a grid of temperatures, batch by batch; nothing grows with the split.

    Every other decision is of the one half, the rest of the other: each half is scaled by the temperature that fits
    the other one best, so that no decision is judged by a temperature that was fitted to it.

    Args:
        compared: of the task.
    """

    def __init__(self, compared: Compared) -> None:
        self.compared = compared
        self.loss = torch.zeros(2, len(TEMPERATURES), dtype=torch.float64)
        self.count = 0
        self.calibrations = [[Calibration() for _ in TEMPERATURES] for _ in range(2)]

    def add(self, decided: Decisions) -> None:
        """Add a batch."""
        halves = (torch.arange(len(decided.classes)) + self.count) % 2
        self.count += len(decided.classes)
        for half in range(2):
            logits, classes = (part[halves == half] for part in (decided.logits, decided.classes))
            for place, temperature in enumerate(TEMPERATURES):
                log_shares = F.log_softmax(logits / temperature, 1)
                self.loss[half, place] += F.nll_loss(log_shares, classes, reduction="sum").double()
                self.calibrations[half][place].add(*self.compared(log_shares.exp(), classes))

    def result(self) -> Scaled | None:
        """None where there were too few decisions to fit anything."""
        if self.count < 2 or not bool(self.loss.isfinite().any(1).all()):
            return None
        loss = self.loss.nan_to_num(float("inf"))
        best, other = int(loss.sum(0).argmin()), loss.argmin(1).flip(0).tolist()
        return Scaled(
            temperature=float(TEMPERATURES[best]),
            loss=float(self.loss[:, AS_IT_IS].sum()) / self.count,
            scaled_loss=sum(float(self.loss[half, place]) for half, place in enumerate(other)) / self.count,
            calibration=self.calibrations[0][AS_IT_IS] + self.calibrations[1][AS_IT_IS],
            scaled=self.calibrations[0][other[0]] + self.calibrations[1][other[1]],
        )
