"""What two networks decide, position by position: the rows that evidence beyond a task's own scores is made of."""

from dataclasses import dataclass

from torch import Tensor

# Of a batch so many decisions are looked at, and so many logits, evenly spread: a map of pixels, or a text with its
# vocabulary, has far more than evidence needs.
ROWS, LOGITS = 4096, 1 << 22


@dataclass(frozen=True, slots=True)
class Decisions:
    """Of one network for one batch.

    logits: (rows, C) float32, a softmax in each row. classes: (rows,) int64, what would be right.
    """

    logits: Tensor
    classes: Tensor


def every(count: int, classes: int) -> int:
    """Each how manieth of so many decisions is looked at."""
    return max(1, -(-count // ROWS), -(-count * classes // LOGITS))


def decisions(distributions: Tensor, classes: Tensor, valid: Tensor | None = None) -> Decisions:
    """The rows that count, evenly spread where there are too many, the same for every network.

    Args:
        distributions: (N, C, *positions).
        classes: (N, *positions) int64.
        valid: (N, *positions) bool; None: all count.
    """
    rows, flat = distributions.movedim(1, -1).flatten(0, -2), classes.flatten()
    if valid is not None:
        counted = valid.flatten()
        rows, flat = rows[counted], flat[counted]
    step = every(*rows.shape)
    return Decisions(rows[::step].float(), flat[::step])
