"""Finished runs, grouped: those that differ only in their seed are runs of one setting."""

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill.config.effect import OF_NO_EFFECT, alone, under
from distill.config.flat import flat
from distill.errors import SettingError
from distill.tasks.metric import Metric

NOT_A_DIFFERENCE = (*OF_NO_EFFECT, "seed", "baseline", "teacher.checkpoint")
LONGEST = 70  # letters of a group's label
EARLIER = "accuracy"  # the metric of a summary.json that names none


@dataclass(frozen=True, slots=True)
class Finished:
    """A run's directory, summary.json, and its settings by their dotted paths."""

    directory: Path
    summary: dict[str, Any]
    settings: dict[str, Any]

    @property
    def metric(self) -> Metric:
        """What its score is."""
        name = str(self.summary.get("metric", EARLIER))
        percent = self.summary.get("percent", name != "perplexity")
        return Metric(name, self.summary.get("higher_is_better", True), name, percent)

    @property
    def method(self) -> str:
        """Its members."""
        return "+".join(self.summary["method"])

    @property
    def alone(self) -> str:
        """The seed and all settings that count for the student without a teacher."""
        return str(sorted(alone(self.settings).items()))

    def score(self, stage: str) -> float | None:
        """A network's value of the metric; None where there is no such network, or it has other classes."""
        return _score(self.summary[stage])

    def said(self, stage: str, name: str) -> Any:
        """What its summary says of a network: 'latency_ms', 'agreement'; None where it does not."""
        return (self.summary[stage] or {}).get(name)


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ only in their seed.

    name: what tells them from others. runs: of this setting. baselines: the score of the student alone beside each
    run, its own or that of a run which trained the student alone in just the same way; None where there is none.
    """

    name: str
    runs: Sequence[Finished]
    baselines: Sequence[float | None]

    @property
    def metric(self) -> Metric:
        """What the scores are."""
        return self.runs[0].metric

    def scores(self, stage: str) -> list[float]:
        """The known scores of the teacher, the baseline or the student, a run each."""
        found = self.baselines if stage == "baseline" else [run.score(stage) for run in self.runs]
        return [score for score in found if score is not None]

    @property
    def label(self) -> str:
        """Its name, cut off where that is long: what differs in many settings stands in a table of its own."""
        return self.name if len(self.name) <= LONGEST else f"{self.name[: LONGEST - 1]}…"

    @property
    def mean(self) -> float | None:
        """Of the student's scores."""
        scores = self.scores("student")
        return statistics.mean(scores) if scores else None

    @property
    def gains(self) -> list[float]:
        """How much better the student is than the baseline, of each run that tells."""
        pairs = zip([run.score("student") for run in self.runs], self.baselines, strict=True)
        return [self.metric.gain(a, b) for a, b in pairs if a is not None and b is not None]

    def said(self, stage: str, name: str) -> list[float]:
        """What the runs say of a network; without those that don't."""
        return [value for run in self.runs if (value := run.said(stage, name)) is not None]

    def by_seed(self) -> dict[Any, float]:
        """The student's score of each seed."""
        found: dict[Any, list[float]] = defaultdict(list)
        for run in self.runs:
            if (score := run.score("student")) is not None:
                found[run.settings.get("seed")].append(score)
        return {seed: statistics.mean(scores) for seed, scores in found.items()}


def find_runs(directories: Sequence[Path]) -> list[Finished]:
    """The finished runs in or below each directory.

    Raises:
        SettingError: a directory without any.
    """
    runs: dict[Path, Finished] = {}
    for directory in directories:
        files = sorted(directory.rglob("summary.json"))
        if not files:
            raise SettingError(f"{directory}: no summary.json in or below it; give directories of finished runs")
        for file in files:
            config = OmegaConf.load(file.with_name("config.yaml"))
            assert isinstance(config, DictConfig)
            runs[file.parent.resolve()] = Finished(file.parent, json.loads(file.read_text()), flat(config))
    return list(runs.values())


def grouped(runs: Sequence[Finished]) -> list[Group]:
    """The settings, in the order of their first runs."""
    trained_alone = {run.alone: score for run in runs if (score := run.score("baseline")) is not None}
    groups: dict[str, list[Finished]] = defaultdict(list)
    for run, name in zip(runs, _names(runs), strict=True):
        groups[name or "all"].append(run)

    def beside(run: Finished) -> float | None:
        own = run.score("baseline")
        return trained_alone.get(run.alone) if own is None else own

    return [Group(name, members, [beside(run) for run in members]) for name, members in groups.items()]


def varying(runs: Sequence[Finished]) -> list[str]:
    """The settings that differ between runs, and may make a difference."""
    paths = sorted({path for run in runs for path in run.settings if not under(path, NOT_A_DIFFERENCE)})
    return [path for path in paths if len({str(run.settings.get(path)) for run in runs}) > 1]


def _names(runs: Sequence[Finished]) -> list[str]:
    """What tells each run from others: the settings that vary; of those of a method, among the runs that use it."""
    used = [run.method for run in runs]
    names = [[f"method={name}"] if len(set(used)) > 1 else [] for name in used]
    if len({run.metric.name for run in runs}) > 1:
        names = [[run.metric.name, *name] for run, name in zip(runs, names, strict=True)]
    for path in varying(runs):
        of_a_method = path.startswith("method.")
        having = [run for run in runs if path in run.settings or not of_a_method]
        if len({str(run.settings.get(path)) for run in having}) > 1:
            for run, name in zip(runs, names, strict=True):
                if path in run.settings or not of_a_method:
                    name.append(f"{path}={run.settings.get(path)}")
    return [" ".join(name) for name in names]


def _score(stage: dict[str, Any] | None) -> float | None:
    return None if stage is None else stage.get("score", stage.get(EARLIER))
