"""What a run found out, as plain data: summary.json, the table, the figures and the page are drawn from it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from distill.metrics import PairedTest, Scores, paired_test
from distill.profiling import Profile
from distill.stage import Record


@dataclass(frozen=True, slots=True)
class StageResult:
    """One network of the run.

    network: its name.
    scores: on the validation split.
    parameters, flops: how many, flops for one image.
    latency_ms: median for one image.
    logits: (N, C) float32 for the validation split, in order.
    record: of its training; None where its weights were loaded.
    """

    network: str
    scores: Scores
    parameters: int
    flops: int
    latency_ms: float
    logits: Tensor
    record: Record | None

    def summary(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "name": self.network,
            "accuracy": self.scores.accuracy,
            "agreement": self.scores.agreement,
            "kl": self.scores.kl,
            "ece": self.scores.ece,
            "parameters": self.parameters,
            "flops": self.flops,
            "latency_ms": self.latency_ms,
            "images_per_second": self.record.images_per_second if self.record else None,
        }


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run. `stages` has 'teacher', 'student' and, where it was trained, 'baseline'.

    targets: (N,) int64 of the validation split. picture: its (C, H, W) uint8 image at a place from 0 to N - 1.
    warnings: what the run warned of, in order.
    profile, advice: where the time of the student's steps went, and what would help; None without profile=true.
    """

    data: str
    method: list[str]
    seed: int
    device: str
    precision: str
    stages: dict[str, StageResult]
    targets: Tensor
    picture: Callable[[int], Tensor]
    class_names: list[str]
    seconds: float
    versions: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    profile: Profile | None = None
    advice: list[str] = field(default_factory=list)

    @property
    def gain(self) -> float | None:
        """The student's accuracy above the baseline's, in points; None without a baseline."""
        if "baseline" not in self.stages:
            return None
        return 100 * (self.stages["student"].scores.accuracy - self.stages["baseline"].scores.accuracy)

    def against_baseline(self) -> PairedTest | None:
        """The paired test of student against baseline; None without a baseline."""
        if "baseline" not in self.stages:
            return None
        return paired_test(self.stages["student"].logits, self.stages["baseline"].logits, self.targets)

    def verdict(self) -> str:
        """Whether distillation helped, in one sentence that claims no more than the validation split can show."""
        test, gain = self.against_baseline(), self.gain
        if test is None or gain is None:
            return "Without a baseline there is nothing to compare the student with."
        evidence = (
            f"{test.gained:,} images won, {test.lost:,} lost, exact paired test p = {test.p_value:.2g}, "
            f"{len(self.targets):,} images, one seed"
        )
        if test.p_value >= 0.05:
            return f"No difference that this validation split can show: {gain:+.1f} points ({evidence})."
        effect = "helped" if gain > 0 else "hurt"
        return f"Distillation {effect}: {gain:+.1f} points over the same student alone ({evidence})."

    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        stages = {name: self.stages[name].summary() if name in self.stages else None for name in _STAGES}
        seconds = {name: r.record.seconds if (r := self.stages.get(name)) and r.record else None for name in _STAGES}
        test = self.against_baseline()
        return {
            "data": self.data,
            "method": self.method,
            "seed": self.seed,
            "device": self.device,
            "precision": self.precision,
            **stages,
            "gain_points": self.gain,
            "p_value": test.p_value if test else None,
            "seconds": {**seconds, "total": self.seconds},
            "warnings": self.warnings,
            "versions": self.versions,
        }


_STAGES = ("teacher", "baseline", "student")
