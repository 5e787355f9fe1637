"""What a run found out, as plain data: summary.json, the table, the figures and the page are drawn from it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from distill.metrics import PairedTest, Scores, paired_test, score
from distill.training.profiling import Profile
from distill.training.stats import StageStats


@dataclass(frozen=True, slots=True)
class SplitResult:
    """What the networks of a run answered for one split.

    name: 'validation' or 'test'.
    targets: (N,) int64.
    logits: (N, C) float32 by network, in the split's order.
    scores: by network.
    """

    name: str
    targets: Tensor
    logits: dict[str, Tensor]
    scores: dict[str, Scores]

    @classmethod
    def of(cls, name: str, targets: Tensor, logits: dict[str, Tensor]) -> "SplitResult":
        """Score the networks, the others beside the teacher."""
        teacher = logits.get("teacher")
        scores = {n: score(given, targets, None if n == "teacher" else teacher) for n, given in logits.items()}
        return cls(name, targets, logits, scores)

    @property
    def gain(self) -> float | None:
        """The student's accuracy above the baseline's, in points; None without a baseline."""
        if "baseline" not in self.scores:
            return None
        return 100 * (self.scores["student"].accuracy - self.scores["baseline"].accuracy)

    def against_baseline(self) -> PairedTest | None:
        """The paired test of student against baseline; None without a baseline."""
        if "baseline" not in self.logits:
            return None
        return paired_test(self.logits["student"], self.logits["baseline"], self.targets)

    def summary(self) -> dict[str, Any]:
        """For summary.json."""
        paired = self.against_baseline()
        return {
            "images": len(self.targets),
            **{name: self.scores[name].known() if name in self.scores else None for name in _STAGES},
            "gain_points": self.gain,
            "p_value": paired.p_value if paired else None,
        }


@dataclass(frozen=True, slots=True)
class StageResult:
    """One network of the run.

    network: its name.
    scores: on the validation split.
    parameters, flops: how many, flops for one image.
    latency_ms: median for one image.
    logits: (N, C) float32 for the validation split, in order; None where its classes aren't the data's, and it has no
        scores.
    record: of its training; None where its weights were loaded.
    """

    network: str
    scores: Scores
    parameters: int
    flops: int
    latency_ms: float
    logits: Tensor | None
    record: StageStats | None

    def summary(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "name": self.network,
            **self.scores.known(),
            "parameters": self.parameters,
            "flops": self.flops,
            "latency_ms": self.latency_ms,
            "images_per_second": self.record.images_per_second if self.record else None,
            "epochs": len(self.record.history) if self.record else None,
            "kept_epoch": self.record.kept if self.record else None,
        }


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run. `stages` has 'teacher', 'student' and, where it was trained, 'baseline'.

    targets: (N,) int64 of the validation split. picture: its (C, H, W) uint8 image at a place from 0 to N - 1.
    warnings: what the run warned of, in order. preflight: what was said before it started, a line each.
    keep: 'last', or 'best' where each network's epoch was chosen by the validation split.
    test: the test split, scored once; None where there is none.
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
    preflight: list[str] = field(default_factory=list)
    keep: str = "last"
    test: SplitResult | None = None
    profile: Profile | None = None
    advice: list[str] = field(default_factory=list)

    @property
    def validation(self) -> SplitResult:
        """The validation split."""
        logits = {name: stage.logits for name, stage in self.stages.items() if stage.logits is not None}
        return SplitResult("validation", self.targets, logits, {name: self.stages[name].scores for name in logits})

    @property
    def judged(self) -> SplitResult:
        """The split by which the student is judged: the test split, where there is one."""
        return self.test or self.validation

    def verdict(self) -> str:
        """Whether distillation helped, in words that claim no more than the split can show."""
        return f"{self._comparison()}{self._flattery()}"

    def _comparison(self) -> str:
        split = self.judged
        paired, gain = split.against_baseline(), split.gain
        if paired is None or gain is None:
            return "Without a baseline there is nothing to compare the student with."
        images = f"{len(split.targets):,} {'test ' if self.test else ''}images"
        evidence = (
            f"{paired.gained:,} images won, {paired.lost:,} lost, exact paired test p = {paired.p_value:.2g}, "
            f"{images}, one seed"
        )
        if paired.p_value >= 0.05:
            return f"No difference that this {split.name} split can show: {gain:+.1f} points ({evidence})."
        effect = "helped" if gain > 0 else "hurt"
        return f"Distillation {effect}: {gain:+.1f} points over the same student alone ({evidence})."

    def _flattery(self) -> str:
        if self.keep != "best":
            return ""
        if self.test:
            return " The validation split chose the epochs (keep=best) and flatters them; the test split does not."
        return " This same split chose each network's epoch (keep=best), which flatters it; a test split would not."

    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        stages = {name: self.stages[name].summary() if name in self.stages else None for name in _STAGES}
        seconds = {name: r.record.seconds if (r := self.stages.get(name)) and r.record else None for name in _STAGES}
        validation = self.validation
        paired = validation.against_baseline()
        return {
            "data": self.data,
            "method": self.method,
            "seed": self.seed,
            "device": self.device,
            "precision": self.precision,
            **stages,
            "gain_points": validation.gain,
            "p_value": paired.p_value if paired else None,
            "keep": self.keep,
            "test": self.test.summary() if self.test else None,
            "seconds": {**seconds, "total": self.seconds},
            "warnings": self.warnings,
            "versions": self.versions,
        }


_STAGES = ("teacher", "baseline", "student")
