"""Several runs side by side: those that differ only in their seed are one row, with mean and spread."""

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from distill.config.effect import OF_NO_EFFECT, alone, under
from distill.config.flat import flat
from distill.errors import OneLineParser, SettingError
from distill.files import write_atomically

NOT_A_DIFFERENCE = (*OF_NO_EFFECT, "seed", "baseline", "teacher.checkpoint")
COLUMNS = ("runs", "teacher", "baseline", "student", "gain", "agreement")
EARLIER = "accuracy"  # the metric of a summary.json that names none


@dataclass(frozen=True, slots=True)
class Finished:
    """A run's summary.json, and its settings by their dotted paths."""

    summary: dict[str, Any]
    settings: dict[str, Any]

    @property
    def alone(self) -> str:
        """The seed and all settings that count for the student without a teacher."""
        return str(sorted(alone(self.settings).items()))


def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = OneLineParser(prog="compare", description=__doc__)
    parser.add_argument("directories", nargs="+", type=Path, help="runs, or directories of runs (a sweep)")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--figure", type=Path, help="draw the student's score over each number that varies; FILE.png")
    options = parser.parse_args(arguments)
    runs = find_runs([directory.expanduser() for directory in options.directories])
    rows = compare(runs)
    if options.figure is not None:
        draw(runs, options.figure.expanduser())
    if options.markdown:
        print(
            "\n".join("| " + " | ".join(line) + " |" for line in (*_head(rows), *(list(row.values()) for row in rows)))
        )
        return
    table = Table(caption=f"{', '.join(dict.fromkeys(map(_metric, runs)))} in percent, gains in points")
    for place, name in enumerate(rows[0]):
        table.add_column(name, justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*row.values())
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)


def find_runs(directories: Sequence[Path]) -> list[Finished]:
    """The finished runs in or below each directory.

    Raises:
        SettingError: a directory without any.
    """
    runs = []
    for directory in directories:
        files = sorted(directory.rglob("summary.json"))
        if not files:
            raise SettingError(f"{directory}: no summary.json in or below it; give directories of finished runs")
        for file in files:
            config = OmegaConf.load(file.with_name("config.yaml"))
            assert isinstance(config, DictConfig)
            runs.append(Finished(json.loads(file.read_text()), flat(config)))
    return runs


def compare(runs: Sequence[Finished]) -> list[dict[str, str]]:
    """One row for runs that differ only in their seed: scores in percent, gains in points, mean +- deviation.

    A run without a baseline is compared with that of a run which trained the student alone in just the same way.
    """
    baselines = {run.alone: run.summary["baseline"] for run in runs if run.summary["baseline"]}
    groups: dict[str, list[Finished]] = defaultdict(list)
    for run, name in zip(runs, _names(runs), strict=True):
        groups[name].append(run)
    return [
        {"setting": name or "all", **dict(zip(COLUMNS, _cells(group, baselines), strict=True))}
        for name, group in groups.items()
    ]


def draw(runs: Sequence[Finished], file: Path) -> None:
    """A figure with a panel for each number that varies between runs: the student's score over it, a dot each run.

    Raises:
        SettingError: no number varies, but the seed.
    """
    from matplotlib.figure import Figure

    found = {path: [run.settings.get(path) for run in runs] for path in _varying(runs)}
    numbers = {path: values for path, values in found.items() if all(isinstance(v, int | float) for v in values)}
    if not numbers:
        raise SettingError(f"--figure={file}: no number varies between these runs")
    scores = [_score(run.summary["student"]) for run in runs]
    figure = Figure(figsize=(4 * len(numbers), 3.5), layout="constrained")
    for axes, (path, values) in zip(figure.subplots(1, len(numbers), squeeze=False)[0], numbers.items(), strict=True):
        axes.plot(values, scores, "o")
        axes.set_xlabel(path)
        axes.set_ylabel(_metric(runs[0]))
    write_atomically(file, lambda path: figure.savefig(path, format=file.suffix.removeprefix(".") or "png"))


def _varying(runs: Sequence[Finished]) -> list[str]:
    """The settings that differ between runs, and may make a difference."""
    paths = sorted({path for run in runs for path in run.settings if not under(path, NOT_A_DIFFERENCE)})
    return [path for path in paths if len({str(run.settings.get(path)) for run in runs}) > 1]


def _names(runs: Sequence[Finished]) -> list[str]:
    """What tells each run from others: the settings that vary; of those of a method, among the runs that use it."""
    paths = sorted(
        path for path in {path for run in runs for path in run.settings} if not under(path, NOT_A_DIFFERENCE)
    )
    methods = {path for path in paths if path.startswith("method.")}
    used = ["+".join(run.summary["method"]) for run in runs]
    names = [[f"method={name}"] if len(set(used)) > 1 else [] for name in used]
    if len(set(map(_metric, runs))) > 1:
        names = [[_metric(run), *name] for run, name in zip(runs, names, strict=True)]
    for path in paths:
        having = [run for run in runs if path in run.settings or path not in methods]
        if len({str(run.settings.get(path)) for run in having}) > 1:
            for run, name in zip(runs, names, strict=True):
                if path in run.settings or path not in methods:
                    name.append(f"{path}={run.settings.get(path)}")
    return [" ".join(name) for name in names]


def _cells(runs: Sequence[Finished], baselines: dict[str, Any]) -> list[str]:
    summaries = [{**run.summary, "baseline": run.summary["baseline"] or baselines.get(run.alone)} for run in runs]
    networks = {stage: [_score(s[stage]) for s in summaries] for stage in ("teacher", "baseline", "student")}
    scores = {stage: [100 * score for score in found if score is not None] for stage, found in networks.items()}
    pairs = zip(networks["student"], networks["baseline"], strict=True)
    gains = [100 * (ours - theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    agreement = [100 * s["student"]["agreement"] for s in summaries if s["student"]["agreement"] is not None]
    shown = [*scores.values(), gains, agreement]
    return [str(len(runs)), *(spread(values, signed=values is gains) for values in shown)]


def _metric(run: Finished) -> str:
    """What its score is."""
    return str(run.summary.get("metric", EARLIER))


def _score(stage: dict[str, Any] | None) -> float | None:
    """A network's value of the metric; None where there is no such network, or it has other classes than the data."""
    return None if stage is None else stage.get("score", stage.get(EARLIER))


def spread(values: Sequence[float], *, signed: bool = False) -> str:
    """'mean ± sample deviation' with one decimal; the mean alone for one value; nothing for none."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):{'+' if signed else ''}.1f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


def _head(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    return [list(rows[0]), ["---"] + ["---:"] * (len(rows[0]) - 1)]
