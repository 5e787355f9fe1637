"""Student beside teacher, decision by decision: which classes they name, and how near they are where it is sure."""

from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.tasks.decisions import Decisions

FINE = 400  # bins of the teacher's confidence, of which groups of like size are made at the end
SUREST = 40.0  # nats of the odds: float32 knows no surer one
GROUPS = 8


@dataclass(frozen=True, slots=True)
class Group:
    """Decisions of which the teacher is about as sure.

    low, high: its confidence. count: decisions. agreement: share on which both name the same class. kl: mean
    KL(teacher || student), nats. teacher, student: share that each has right.
    """

    low: float
    high: float
    count: int
    agreement: float
    kl: float
    teacher: float
    student: float


class SideBySide:
    """Sums, batch by batch: nothing grows with the split but the pairs of classes that occur.

    Attributes:
        pairs: how often the teacher names the first class and the student the second.
        right: of these, how often that of the teacher, and that of the student, is right.
    """

    def __init__(self) -> None:
        self.pairs: Counter[tuple[int, int]] = Counter()
        self.right: dict[tuple[int, int], tuple[int, int]] = {}
        self._sums = torch.zeros(5, FINE, dtype=torch.float64)

    def add(self, student: Decisions, teacher: Decisions) -> None:
        """Add a batch: of both, the same rows."""
        taught, said = teacher.logits.log_softmax(1), student.logits.log_softmax(1)
        best, ours = taught.argmax(1), said.argmax(1)
        classes = teacher.classes
        kl = F.kl_div(said, taught, reduction="none", log_target=True).nan_to_num(0.0, posinf=float("inf")).sum(1)
        odds = taught.amax(1) - torch.log1p(-taught.amax(1).exp().clamp(max=1 - 1e-7))
        place = ((odds.clamp(-SUREST, SUREST) + SUREST) / (2 * SUREST) * FINE).long().clamp(max=FINE - 1)
        rows = (None, best == ours, kl, best == classes, ours == classes)
        for row, values in zip(self._sums, rows, strict=True):
            row += torch.bincount(place, None if values is None else values.double(), minlength=FINE)
        self._count_pairs(best, ours, classes, teacher.logits.shape[1])

    def _count_pairs(self, best: Tensor, ours: Tensor, classes: Tensor, many: int) -> None:
        codes, place = (best * many + ours).unique(return_inverse=True)
        kinds = (None, best == classes, ours == classes)
        counts = torch.stack([torch.bincount(place, weights, minlength=len(codes)) for weights in kinds])
        for code, (count, teacher, student) in zip(codes.tolist(), counts.T.long().tolist(), strict=True):
            pair = divmod(code, many)
            before = self.right.get(pair, (0, 0))
            self.pairs[pair] += count
            self.right[pair] = (before[0] + teacher, before[1] + student)

    @property
    def count(self) -> int:
        """Decisions."""
        return self.pairs.total()

    @property
    def apart(self) -> list[tuple[tuple[int, int], int]]:
        """The pairs of different classes, the most frequent first."""
        return [(pair, count) for pair, count in self.pairs.most_common() if pair[0] != pair[1]]

    def groups(self, most: int = GROUPS) -> list[Group]:
        """The decisions in at most so many groups of about the same size, the least sure first."""
        ends = self._sums[0].cumsum(0)
        group = ((ends - self._sums[0] / 2) / ends[-1] * most).long().clamp(max=most - 1)
        found = []
        for number in range(most):
            bins = ((group == number) & (self._sums[0] > 0)).nonzero().flatten()
            if len(bins):
                count, *sums = self._sums[:, bins].sum(1).tolist()
                low, high = _confidence(int(bins[0])), _confidence(int(bins[-1]) + 1)
                found.append(Group(low, high, int(count), *(value / count for value in sums)))
        return found


def _confidence(edge: int) -> float:
    """At the edge of a fine bin."""
    return float(torch.tensor(2 * SUREST * edge / FINE - SUREST, dtype=torch.float64).sigmoid())
