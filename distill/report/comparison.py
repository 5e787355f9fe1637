"""What a comparison of runs says: the settings with mean and spread, whether they differ, and what they cost."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill.report.content import Block, Cell, Drawing, Drawings, Report, Section, Series, Table, Text
from distill.report.groups import Finished, Group, grouped, varying
from distill.report.significance import holm, paired_p_value
from distill.report.style import COLOURS, INK, in_percent, over_latency, panel
from distill.tasks.metric import Metric

LEVEL = 0.05
HEADS = ("setting", "runs", "teacher", "baseline", "student", "gain", "p", "agreement", "latency ms", "parameters")


@dataclass(frozen=True, slots=True)
class Against:
    """A setting beside the best one: how much better its student is, for each seed that both have, and p after Holm."""

    group: Group
    differences: Sequence[float]
    p_value: float | None


def rows(groups: Sequence[Group]) -> list[dict[str, str]]:
    """A row for each setting: mean +- deviation over its runs, shares in percent and their gains in points."""
    corrected = holm([_gain_p_value(group) for group in groups])
    return [dict(zip(HEADS, _cells(group, p), strict=True)) for group, p in zip(groups, corrected, strict=True)]


def best_of(groups: Sequence[Group]) -> Group | None:
    """The setting with the best mean score of its students; None where scores are not of one metric, or unknown."""
    known = [(group, mean) for group in groups if (mean := group.mean) is not None]
    if not known or len({group.metric.name for group, _ in known}) > 1:
        return None
    better = max if known[0][0].metric.higher_is_better else min
    return better(known, key=lambda pair: pair[1])[0]


def against_best(groups: Sequence[Group]) -> list[Against]:
    """Each other setting beside the best, paired by seed; empty where no two settings share two seeds."""
    best = best_of(groups)
    if best is None:
        return []
    scores, found = best.by_seed(), []
    for group in groups:
        own = group.by_seed()
        shared = [seed for seed in scores if seed in own]
        if group is not best and len(shared) > 1:
            found.append((group, [group.metric.gain(own[seed], scores[seed]) for seed in shared]))
    corrected = holm([paired_p_value(differences) for _, differences in found])
    return [Against(*pair, p) for pair, p in zip(found, corrected, strict=True)]


def verdict(groups: Sequence[Group]) -> str:
    """One sentence, which claims no more than the seeds can show."""
    best = best_of(groups)
    if best is None:
        return "Scores of different metrics have no order."
    shown = f"{best.metric.words} {spread(best.scores('student'), best.metric)}"
    if len(groups) == 1:
        return f"One setting, {_runs(best)}: {shown}."
    sentence = f"Best: {best.label}, {shown} ({_runs(best)})."
    compared = against_best(groups)
    if not compared:
        return f"{sentence} Settings share fewer than two seeds, so that chance may have chosen it."
    worse, count = sum(each.p_value is not None and each.p_value < LEVEL for each in compared), len(compared)
    if count == 1:
        which = "Better than the other" if worse else "Not better than the other"
    else:
        which = f"Better than {'all' if worse == count else worse or 'none'} of the {count} others"
    return f"{sentence} {which} beyond chance (p < {LEVEL}, paired by seed)."


def comparison(runs: Sequence[Finished]) -> Report:
    """The whole comparison as a report."""
    groups = grouped(runs)
    best = best_of(groups)
    headline = None
    if best is not None and len(groups) > 1:
        headline = (spread(best.scores("student"), best.metric), f"{best.metric.words}, best")
    sections = [
        Section("settings", "Settings", [_settings(groups)]),
        Section("significance", "Against the best", list(_significance(groups, best))),
        Section("cost", "What they cost", list(_cost(groups))),
        Section("differences", "Where the settings differ", list(_differences(groups))),
        Section("runs", "Runs", [_runs_table(groups)]),
    ]
    return Report(
        title=f"{len(groups)} settings" if len(groups) > 1 else groups[0].label,
        facts=f"{len(runs)} runs · {', '.join(dict.fromkeys(str(run.summary.get('data')) for run in runs))}",
        headline=headline,
        verdict=verdict(groups),
        sections=[section for section in sections if section.blocks],
        footer="Scores are of the validation split.",
    )


def spread(values: Sequence[float], metric: Metric, *, signed: bool = False) -> str:
    """'mean ± sample deviation', shares in percent; the mean alone for one value; nothing for none."""
    if not values:
        return ""
    scale, form, wide = (100, ".1f", ".1f") if metric.percent else (1, ".4g", ".2g")
    scaled = [scale * value for value in values]
    mean = format(statistics.mean(scaled), f"{'+' if signed else ''}{form}")
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(scaled):{wide}}"


SHARE = Metric("share", higher_is_better=True, words="share")


def _cells(group: Group, p_value: float | None) -> list[str]:
    metric, agreement = group.metric, group.said("student", "agreement")
    latency, parameters = group.said("student", "latency_ms"), group.said("student", "parameters")
    return [
        group.name,
        str(len(group.runs)),
        *(spread(group.scores(stage), metric) for stage in ("teacher", "baseline", "student")),
        spread(group.gains, metric, signed=True),
        _p(p_value),
        spread(agreement, SHARE),
        f"{statistics.median(latency):.3g}" if latency else "",
        f"{int(statistics.median(parameters)):,}" if parameters else "",
    ]


def _gain_p_value(group: Group) -> float | None:
    """Of the gain over the baseline: over seeds where there are several, else over the run's own samples."""
    if len(group.runs) > 1:
        return paired_p_value(group.gains)
    value = group.runs[0].summary.get("p_value")
    return None if value is None else float(value)


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _runs(group: Group) -> str:
    return "one run" if len(group.runs) == 1 else f"{len(group.runs)} runs"


def _settings(groups: Sequence[Group]) -> Table:
    found = rows(groups)
    for number, (row, group) in enumerate(zip(found, groups, strict=True), start=1):
        row["setting"] = _numbered(number, group)
    heads = [head for head in HEADS if any(row[head] for row in found)]
    return Table(
        "Mean ± sample deviation over runs, shares in percent and gains in points. p: of the gain over the student "
        "alone, paired over seeds (t-test), of a single run over its samples; after Holm for all rows.",
        heads,
        [[_cell(row[head]) for head in heads] for row in found],
        sortable=True,
    )


def _cell(text: str) -> Cell:
    """Sorted by the number that it begins with, or as words."""
    first = text.removeprefix("< ").replace(",", "").partition(" ")[0]
    try:
        return Cell(text, float(first))
    except ValueError:
        return Cell(text, text or None)


def _significance(groups: Sequence[Group], best: Group | None) -> Iterator[Block]:
    compared = against_best(groups)
    if best is None or not compared:
        return
    table = [
        [each.group.label, str(len(each.differences)), spread(each.differences, best.metric, signed=True),
         _p(each.p_value)]
        for each in compared
    ]  # fmt: skip
    caption = (
        f"The student of each setting less that of {best.label}, of the same seed; p of a paired t-test after Holm."
    )
    yield Table(caption, ["setting", "seeds", "difference", "p"], table)
    yield Text("The best was chosen by these same runs, which flatters it: runs of further seeds would tell.")


def _cost(groups: Sequence[Group]) -> Iterator[Block]:
    if best_of(groups) is None or not any(group.said("student", "latency_ms") for group in groups):
        return
    yield Drawings([_pareto(groups)])


def _pareto(groups: Sequence[Group]) -> Drawing:
    """Score against latency: students of each setting, teachers, and the line of those that none beats in both."""
    metric = groups[0].metric
    figure, axes = panel()
    series, places = [], []

    def add(name: str, label: str, at: tuple[float, float], **look: Any) -> None:
        axes.errorbar(*at, markersize=7, **look)
        axes.annotate(label, at, textcoords="offset points", xytext=(7, 5), fontsize=9, color=INK)
        places.append(at)
        series.append(Series(name, [at[0]], [at[1]], [f"{metric.shown(at[1])}, {at[0]:.3g} ms"]))

    for number, group in enumerate(groups, start=1):
        latency, scores = group.said("student", "latency_ms"), group.scores("student")
        if latency and scores:
            at = (statistics.median(latency), statistics.mean(scores))
            deviation = statistics.stdev(scores) if len(scores) > 1 else None
            add(_numbered(number, group), str(number), at, yerr=deviation, fmt="o", color=COLOURS["student"])
    for name, at in _teachers(groups).items():
        add(f"teacher {name}", name, at, fmt="s", color=COLOURS["teacher"])
    front = unbeaten(places, higher_is_better=metric.higher_is_better)
    axes.plot([x for x, _ in front], [y for _, y in front], color=COLOURS["teacher"], linewidth=1, linestyle="--")
    over_latency(axes)
    axes.set_ylabel(metric.words)
    if metric.percent:
        in_percent(axes.yaxis, None)
    axes.margins(0.15)
    seen = "; ".join(f"{each.name}: {each.words[0]}" for each in series)
    title = f"{metric.words[:1].upper()}{metric.words[1:]} against latency"
    caption = (
        "Settings by their numbers, mean and deviation over seeds, and teachers (squares). Dashed: no other is at once "
        "as fast and as good. Latency is what each run measured: that of one machine compares."
    )
    return Drawing("pareto", title, caption, seen, figure, series)


def _numbered(number: int, group: Group) -> str:
    return f"{number}: {group.label}"


def unbeaten(places: Sequence[tuple[float, float]], *, higher_is_better: bool) -> list[tuple[float, float]]:
    """Of (latency, score), those that no other equals or beats in both, the fastest first."""
    sign = -1 if higher_is_better else 1
    front: list[tuple[float, float]] = []
    for place in sorted(set(places), key=lambda each: (each[0], sign * each[1])):
        if not front or sign * place[1] < sign * front[-1][1]:
            front.append(place)
    return front


def _teachers(groups: Sequence[Group]) -> Mapping[str, tuple[float, float]]:
    """Latency and score of each teacher by its name, the median and the mean over runs."""
    found: dict[str, list[tuple[float, float]]] = {}
    for run in (run for group in groups for run in group.runs):
        latency, score = run.said("teacher", "latency_ms"), run.score("teacher")
        if latency is not None and score is not None:
            found.setdefault(str(run.said("teacher", "name")), []).append((latency, score))
    return {
        name: (statistics.median(x for x, _ in pairs), statistics.mean(y for _, y in pairs))
        for name, pairs in found.items()
    }


def _differences(groups: Sequence[Group]) -> Iterator[Table]:
    """Each setting that varies, its values, and the rows of the first table that have them."""
    table = []
    for path in varying([run for group in groups for run in group.runs]):
        having: dict[str, list[str]] = {}
        for number, group in enumerate(groups, start=1):
            for value in dict.fromkeys(str(run.settings.get(path, "-")) for run in group.runs):
                having.setdefault(value, []).append(str(number))
        table.append([path, " · ".join(f"{value} ({', '.join(numbers)})" for value, numbers in having.items())])
    if table:
        yield Table("Values, and the numbers of those that have them.", ["setting", "values"], table, words=2)


def _runs_table(groups: Sequence[Group]) -> Table:
    table = [
        [str(run.directory), group.label, str(run.settings.get("seed")), run.metric.shown(score)]
        for group in groups
        for run in group.runs
        if (score := run.score("student")) is not None
    ]
    return Table("The student of each run.", ["directory", "setting", "seed", groups[0].metric.words], table, words=2)


def each_run(groups: Sequence[Group]) -> Iterator[dict[str, object]]:
    """A row a run for other programs: scores as they are, and every setting that varies."""
    paths = varying([run for group in groups for run in group.runs])
    for group in groups:
        for run, baseline in zip(group.runs, group.baselines, strict=True):
            student = run.score("student")
            gain = None if student is None or baseline is None else run.metric.gain(student, baseline)
            yield {
                "directory": str(run.directory),
                "setting": group.name,
                "method": run.method,
                "seed": run.settings.get("seed"),
                "metric": run.metric.name,
                "teacher": run.score("teacher"),
                "baseline": baseline,
                "student": student,
                "gain": gain,
                "p_value": run.summary.get("p_value"),
                "agreement": run.said("student", "agreement"),
                "latency_ms": run.said("student", "latency_ms"),
                "parameters": run.said("student", "parameters"),
                **{path: run.settings.get(path) for path in paths},
            }
