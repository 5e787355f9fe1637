"""What is saved of a trained stage beside its weights."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StageStats:
    """What is saved of a trained stage beside its weights.

    seconds: spent training, in all attempts, without what an attempt did after its last checkpoint.
    steps: of the optimizer.
    images_per_second: training throughput over all processes, median over steps after warm-up.
    history: the logged values of each epoch.
    kept: the epoch, from 1, whose weights were kept.
    stopped: the epoch after which it was stopped early; None where it went on to its end.
    earlier: of the seconds, those of earlier attempts and of other runs.
    """

    seconds: float
    steps: int
    images_per_second: float | None
    history: list[dict[str, float]] = field(default_factory=list)
    kept: int | None = None
    stopped: int | None = None
    earlier: float = 0.0
