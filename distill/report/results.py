"""What a run found out, as plain data: summary.json, the table, the figures and the page are drawn from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from distill.models.cost import Speed
from distill.tasks import Task
from distill.tasks.disagreements import Disagreements
from distill.tasks.evaluation import Scored
from distill.tasks.evidence import Gain
from distill.tasks.side_by_side import SideBySide
from distill.tasks.temperature import Scaled
from distill.training.profiling import Profile
from distill.training.stats import StageStats


@dataclass(frozen=True, slots=True)
class SplitResult:
    """What the networks of a run are worth on one split.

    name: 'validation' or 'test'.
    task: what its labels are.
    count: samples.
    networks: by name; those whose classes aren't the data's are left out.
    gain: of the student over the baseline; None without a baseline.
    disagreements: of student and teacher; None without a teacher that answers for the same classes.
    classes: for each class that occurs, the 'count' of its samples and each network's score; empty where the task has
        none. class_names: of all.
    side_by_side: student and teacher, decision by decision; None where answers are no classes.
    scaled: by network, its calibration before and after temperature scaling; those for which there is such a thing.
    """

    name: str
    task: Task
    count: int
    networks: dict[str, Scored]
    gain: Gain | None = None
    disagreements: Disagreements | None = None
    classes: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    class_names: Sequence[str] = ()
    side_by_side: SideBySide | None = None
    scaled: Mapping[str, Scaled] = field(default_factory=dict)

    def value(self, network: str, score: str) -> float | None:
        """A score of a network; None where it is unknown."""
        return self.networks[network].values.get(score) if network in self.networks else None

    def score(self, network: str) -> float | None:
        """A network's value of the task's metric; None where it is unknown."""
        return self.value(network, self.task.metric.name)

    @property
    def gain_points(self) -> float | None:
        """The gain in hundredths; None without a baseline, or where the metric is no share."""
        return None if self.gain is None or not self.task.metric.percent else 100 * self.gain.value

    def scores(self, network: str) -> dict[str, float | None]:
        """All scores of a network for summary.json, the task's metric once more as `score`."""
        found = self.networks[network].known() if network in self.networks else dict.fromkeys(self.task.score_names)
        return {**found, "score": found[self.task.metric.name]}

    def gains(self) -> dict[str, float | None]:
        """The gain for summary.json."""
        names = ("gain", "gain_low", "gain_high", "gain_points", "p_value")
        if self.gain is None:
            return dict.fromkeys(names)
        gain = self.gain
        values = (gain.value, gain.low, gain.high, self.gain_points, gain.test.p_value)
        return dict(zip(names, values, strict=True))

    def summary(self) -> dict[str, Any]:
        """For summary.json."""
        networks = {name: self.scores(name) if name in self.networks else None for name in _STAGES}
        return {"images": self.count, **networks, **self.gains()}


@dataclass(frozen=True, slots=True)
class StageResult:
    """One network of the run.

    network: its name.
    parameters, flops: how many, flops for one sample.
    weights_bytes: of all weights and buffers, as its file holds them.
    speed: of its answers.
    record: of its training; None where its weights were loaded.
    tokens: that a sample has, of text: the mean. None of others.
    """

    network: str
    parameters: int
    flops: int
    weights_bytes: int
    speed: Speed
    record: StageStats | None
    tokens: float | None = None

    def summary(self) -> dict[str, Any]:
        """For summary.json."""
        rate = self.record.images_per_second if self.record else None
        text = {} if self.tokens is None else {"tokens_per_second": None if rate is None else self.tokens * rate}
        return {
            **text,
            "parameters": self.parameters,
            "flops": self.flops,
            "weights_bytes": self.weights_bytes,
            "latency_ms": self.speed.latency_ms.median,
            "inference": self.speed.summary(),
            "images_per_second": self.record.images_per_second if self.record else None,
            "epochs": len(self.record.history) if self.record else None,
            "kept_epoch": self.record.kept if self.record else None,
        }


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a run came about.

    commands: by which it was started and went on, in order. directory: they were given in.
    machine: what it ran on, by what it is: 'CPU', 'cores', 'threads', ...
    commits: of git, by whose: 'distill', 'working directory'; those that have one.
    overrides: the settings that were given with the first command; none are known of runs that did not keep them.
    """

    commands: list[str]
    directory: str
    machine: dict[str, str]
    commits: dict[str, str]
    overrides: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run. `stages` has 'teacher', 'student' and, where it was trained, 'baseline'.

    validation: the validation split. shown: the sample of an index of it, an image (C, H, W)
        uint8 or a text.
    warnings: what the run warned of, in order. preflight: what was said before it started, a line each.
    keep: 'last', or 'best' where each network's epoch was chosen by the validation split.
    test: the test split, scored once; None where there is none.
    noun, unit: what samples are called, and what the paired test counts.
    provenance: how the run came about; None where that isn't known.
    profile, advice: where the time of the student's steps went, and what would help; None without profile=true.
    """

    data: str
    method: list[str]
    seed: int
    device: str
    precision: str
    stages: dict[str, StageResult]
    validation: SplitResult
    shown: Callable[[int], Tensor | str]
    seconds: float
    versions: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    preflight: list[str] = field(default_factory=list)
    keep: str = "last"
    test: SplitResult | None = None
    provenance: Provenance | None = None
    profile: Profile | None = None
    advice: list[str] = field(default_factory=list)
    noun: str = "images"
    unit: str = "images"

    @property
    def task(self) -> Task:
        """What the labels are."""
        return self.validation.task

    @property
    def judged(self) -> SplitResult:
        """The split by which the student is judged: the test split, where there is one."""
        return self.test or self.validation

    def verdict(self) -> str:
        """Whether distillation helped, in words that claim no more than the split can show."""
        return f"{self._comparison()}{self._flattery()}"

    def _comparison(self) -> str:
        split = self.judged
        if split.gain is None:
            return "Without a baseline there is nothing to compare the student with."
        value, paired, metric = split.gain.value, split.gain.test, self.task.metric
        points = metric.difference(value)
        images = f"{split.count:,} {'test ' if self.test else ''}{self.noun}"
        low, high = ((f"{100 * v:+.1f}" if metric.percent else f"{v:+.3g}") for v in (split.gain.low, split.gain.high))
        evidence = (
            f"{paired.gained:,} {self.unit} won, {paired.lost:,} lost, {paired.name} p = {paired.p_value:.2g}, "
            f"95 % interval {low} to {high}, {images}, one seed"
        )
        if paired.p_value >= 0.05 or value * paired.mean <= 0:  # or the metric and the samples tell opposite tales
            return f"No difference that this {split.name} split can show: {points} ({evidence})."
        effect = "helped" if value > 0 else "hurt"
        return f"Distillation {effect}: {points} over the same student alone ({evidence})."

    def _flattery(self) -> str:
        if self.keep != "best":
            return ""
        if self.test:
            return " The validation split chose the epochs (keep=best) and flatters them; the test split does not."
        return " This same split chose each network's epoch (keep=best), which flatters it; a test split would not."

    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        stages = {
            name: {"name": stage.network, **self.validation.scores(name), **stage.summary()}
            for name, stage in self.stages.items()
        }
        seconds = {name: r.record.seconds if (r := self.stages.get(name)) and r.record else None for name in _STAGES}
        return {
            "task": self.task.name,
            "metric": self.task.metric.name,
            "higher_is_better": self.task.metric.higher_is_better,
            "percent": self.task.metric.percent,
            "data": self.data,
            "method": self.method,
            "seed": self.seed,
            "device": self.device,
            "precision": self.precision,
            **{name: stages.get(name) for name in _STAGES},
            **self.validation.gains(),
            "keep": self.keep,
            "test": self.test.summary() if self.test else None,
            "seconds": {**seconds, "total": self.seconds},
            "warnings": self.warnings,
            "versions": self.versions,
        }


_STAGES = ("teacher", "baseline", "student")
