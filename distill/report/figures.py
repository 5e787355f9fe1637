"""The figures of a run, each with its words and the values that can be asked for."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from distill.report.content import Drawing, Series
from distill.report.results import Results, SplitResult
from distill.report.style import COLOURS, INK, MARKS, TERMS, in_percent, legend, over_latency, panel
from distill.tasks.calibration import BINS, Calibration

MOST_CLASSES = 20  # of which a matrix can be read
ONE_GRADIENT = "gradient/"  # of a term, in an epoch's history


def shipped(results: Results) -> Drawing | None:
    """The metric of each network against the time that one answer takes."""
    metric = results.task.metric
    known = {name: score for name in results.stages if (score := results.validation.score(name)) is not None}
    figure, axes = panel()
    series = []
    for name, score in known.items():
        stage, speed = results.stages[name], results.stages[name].speed.latency_ms
        axes.plot([speed.low, speed.high], [score, score], color=COLOURS[name], linewidth=1.4, alpha=0.6)
        axes.plot(speed.median, score, marker=MARKS[name], markersize=8, color=COLOURS[name], linestyle="", label=name)
        said = f"{metric.shown(score)}, {speed.median:.2f} ms, {stage.parameters:,} parameters"
        series.append(Series(name, [speed.median], [score], [said]))
    over_latency(axes)
    axes.margins(x=0.2, y=0.2)
    _metric_axis(axes, results, list(known.values()))
    legend(axes)
    seen = "; ".join(f"{each.name}: {each.words[0]}" for each in series)
    caption = f"Up and to the left is better: {metric.words} on the validation split, and latency with its spread."
    if not metric.higher_is_better:
        caption = caption.replace("Up and to", "Down and to")
    return Drawing(
        "cost",
        f"{metric.words[:1].upper()}{metric.words[1:]} against latency",
        caption,
        seen,
        figure,
        series,
        tag="cost/latency",
    )


def curves(results: Results) -> Drawing:
    """The task's metric on the validation split over each stage's epochs."""
    figure, axes = panel()
    metric, reached, series = results.task.metric, [], []
    for stage, result in results.stages.items():
        final = results.validation.score(stage)
        if final is None:
            continue
        reached.append(final)
        if result.record is None:
            axes.axhline(final, color=COLOURS[stage], linestyle="--", linewidth=1.2, label=stage)
        elif points := _points(result.record.history, metric.logged):
            series.append(_line(axes, stage, points, COLOURS[stage], metric.shown))
    _over_epochs(axes)
    _metric_axis(axes, results, reached)
    legend(axes)
    caption = "The baseline is the student trained in the same way without the teacher. Dashed: trained elsewhere."
    return Drawing("curves", f"Validation {metric.words}", caption, _ends(series), figure, series)


def losses(results: Results) -> Drawing:
    """The training loss of each stage over its epochs."""
    figure, axes = panel()
    series = []
    for stage, result in results.stages.items():
        if result.record is not None and (points := _points(result.record.history, "train/loss")):
            series.append(_line(axes, stage, points, COLOURS[stage], "{:.4g}".format))
    _over_epochs(axes)
    _log_if_wide(axes)
    legend(axes)
    caption = "Losses of different stages are different functions and are not to be compared."
    return Drawing("losses", "Training loss, each stage's own", caption, _ends(series), figure, series)


def terms(history: Sequence[Mapping[str, float]]) -> Drawing | None:
    """The weighted terms of the student's loss over its epochs; None without any."""
    found = _by_term(history, "weighted/")
    if not found:
        return None
    figure, axes = panel()
    series = [
        _line(axes, name, points, TERMS[place % len(TERMS)], "{:.4g}".format)
        for place, (name, points) in enumerate(found.items())
    ]
    _over_epochs(axes)
    _log_if_wide(axes)
    legend(axes)
    caption = "What each term adds to the student's loss, with its weight."
    return Drawing("terms", "Terms of the loss", caption, _ends(series), figure, series)


def gradients(history: Sequence[Mapping[str, float]]) -> Drawing | None:
    """What share each term has in the student's gradient over its epochs; None where nobody has measured it."""
    found = _by_term(history, ONE_GRADIENT)
    totals: dict[float, float] = {}
    for points in found.values():
        for epoch, pull in points:
            totals[epoch] = totals.get(epoch, 0.0) + pull
    if not any(totals.values()):
        return None
    figure, axes = panel()
    series = []
    for place, (name, points) in enumerate(found.items()):
        shares = [(epoch, pull / totals[epoch]) for epoch, pull in points if totals[epoch]]
        series.append(_line(axes, name, shares, TERMS[place % len(TERMS)], "{:.1%}".format, marker="o"))
    _over_epochs(axes)
    axes.set_ylim(0, 1)
    in_percent(axes.yaxis)
    legend(axes)
    caption = "How hard each term pulls: the norm of its gradient at the student's weights, as a share of their sum."
    return Drawing("gradients", "Terms in the gradient", caption, _ends(series), figure, series)


def reliability(results: Results, stage: str) -> Drawing:
    """How often a network is right when it says how sure it is, as it is and with scaled logits."""
    split, task = results.validation, results.task
    calibration, scaled = split.networks[stage].calibration, split.scaled.get(stage)
    figure, axes = panel(3.1, 3.1)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
    centres = ((torch.arange(BINS) + 0.5) / BINS).tolist()
    right = calibration.right.nan_to_num(0).tolist()
    axes.bar(centres, right, width=0.9 / BINS, color=COLOURS[stage])
    series = [Series("share", centres, right, _bins(calibration, task.share_right))]
    if scaled is not None:
        there = (scaled.scaled.count > 0).nonzero().flatten()
        xs, ys = scaled.scaled.confidence[there].tolist(), scaled.scaled.right[there].tolist()
        axes.plot(xs, ys, color=INK, linewidth=1.2, marker="o", markersize=3.5)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    in_percent(axes.yaxis)
    axes.set_xlabel(task.confidence)
    axes.set_ylabel(task.share_right)
    caption = f"{int(calibration.count.sum()):,} answers, calibration error {_number(calibration.error)}"
    if scaled is not None:
        caption += f"; {_number(scaled.scaled.error)} with its logits divided by {scaled.temperature:.2g} (line)"
    return Drawing(f"reliability_{stage}", stage, f"{caption}.", caption, figure, series, tag=f"calibration/{stage}")


def thresholds(results: Results, stage: str) -> Drawing | None:
    """Lines of a network over a threshold, such as its precision; None where the task draws none."""
    curve = results.validation.networks[stage].curve
    if curve is None:
        return None
    figure, axes = panel(3.1, 3.1)
    series = []
    for (name, line), style in zip(curve.lines.items(), (":", "--", "-"), strict=False):
        xs, ys = curve.points.tolist(), line.tolist()
        axes.plot(xs, ys, color=COLOURS[stage], linewidth=1.6, linestyle=style, label=name)
        series.append(Series(name, xs, ys, [f"{y:.1%} at {x:.2f}" for x, y in zip(xs, ys, strict=True)]))
    axes.set_xlabel(curve.x)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    in_percent(axes.yaxis)
    legend(axes)
    best = [f"{each.name} at most {max(each.y):.1%}" for each in series]
    return Drawing(f"thresholds_{stage}", stage, f"{curve.title[:1].upper()}{curve.title[1:]}.", ", ".join(best),
                   figure, series, tag=f"thresholds/{stage}")  # fmt: skip


def by_confidence(split: SplitResult) -> list[Drawing]:
    """How near the student is to the teacher where the teacher is more or less sure: agreement, and divergence."""
    if split.side_by_side is None:
        return []
    groups = split.side_by_side.groups()
    places, labels = list(range(len(groups))), [f"≥ {_confident(group.low)}" for group in groups]
    agreement, apart = [group.agreement for group in groups], [group.kl for group in groups]
    found = []
    for name, title, values, words in (
        ("agreement", "Agreement by the teacher's confidence", agreement, [f"{value:.1%}" for value in agreement]),
        ("kl", "KL by the teacher's confidence", apart, [f"{value:.3g} nats" for value in apart]),
    ):
        figure, axes = panel()
        axes.bar(places, values, color=COLOURS["student"], width=0.7)
        axes.set_xticks(places, labels, rotation=35, ha="right")
        axes.set_xlabel("the teacher's confidence")
        if name == "agreement":
            axes.set_ylim(max(0.0, min([*values, 1.0]) - 0.15), 1)
            in_percent(axes.yaxis)
        each = [f"{value}, {group.count:,} decisions" for value, group in zip(words, groups, strict=True)]
        seen = "; ".join(f"{label}: {said}" for label, said in zip(labels, each, strict=True))
        caption = "Groups of about as many decisions each, from those of which the teacher is least sure."
        series = [Series(name, places, values, each)]
        if name == "kl":
            caption = "KL(teacher || student), mean in nats, in the same groups."
        found.append(
            Drawing(name, title, caption, seen, figure, series, tag=f"beside the teacher/{name} by confidence")
        )
    return found


def confusion(split: SplitResult) -> Drawing | None:
    """What the student says for each class that the teacher names; None where that can't be read."""
    both, names = split.side_by_side, [_short(name) for name in split.class_names]
    if both is None or not 2 <= len(names) <= MOST_CLASSES:
        return None
    counts = torch.zeros(len(names), len(names))
    for (teacher, student), count in both.pairs.items():
        counts[teacher, student] = count
    shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
    figure, axes = panel(max(3.1, 1.2 + 0.34 * len(names)), max(2.9, 1.0 + 0.34 * len(names)))
    axes.grid(visible=False)
    axes.imshow(_tinted(shares), interpolation="nearest")
    for row, column in counts.nonzero().tolist():
        light = float(shares[row, column]) > 0.5
        axes.text(column, row, f"{int(counts[row, column]):,}", ha="center", va="center", fontsize=8,
                  color="white" if light else INK)  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=45 if max(map(len, names)) > 2 else 0, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xlabel("the student says")
    axes.set_ylabel("the teacher says")
    apart = [f"{names[t]} as {names[s]}: {count}" for (t, s), count in both.apart[:5]]
    seen = f"most often apart: {'; '.join(apart)}" if apart else "they agree everywhere"
    return Drawing(
        "confusion",
        "Student against teacher",
        "Counts; the diagonal is agreement.",
        seen,
        figure,
        tag="beside the teacher/confusion",
    )


def _tinted(shares: Tensor) -> Any:
    """(C, C) shares as the student's colour, more or less of it: (C, C, 4)."""
    red, green, blue = (int(COLOURS["student"][place : place + 2], 16) / 255 for place in (1, 3, 5))
    flat = torch.tensor([red, green, blue]).expand(*shares.shape, 3)
    return torch.cat([flat, shares.sqrt()[..., None] * 0.95], 2).numpy()


def _points(history: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    return [(epoch["epoch"], epoch[name]) for epoch in history if name in epoch]


def _by_term(history: Sequence[Mapping[str, float]], prefix: str) -> dict[str, list[tuple[float, float]]]:
    """Points by what follows the prefix in the names of values."""
    names = dict.fromkeys(name for epoch in history for name in epoch if name.startswith(prefix))
    return {name.removeprefix(prefix): _points(history, name) for name in names}


def _line(axes: Any, name: str, points: list[tuple[float, float]], colour: str, words: Any, marker: str = "") -> Series:
    xs, ys = zip(*points, strict=True)
    lone = "o" if len(points) == 1 else marker
    axes.plot(xs, ys, color=colour, linewidth=1.8, label=name, marker=lone, markersize=4)
    return Series(name, xs, ys, [f"{words(y)}, epoch {x:.0f}" for x, y in points])


def _over_epochs(axes: Any) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _log_if_wide(axes: Any) -> None:
    low, high = axes.dataLim.intervaly
    if high > 10 * low > 0:
        axes.set_yscale("log")


def _metric_axis(axes: Any, results: Results, reached: Sequence[float]) -> None:
    """Per cent, from a little below what was reached; else as it comes."""
    if results.task.metric.percent and reached:
        in_percent(axes.yaxis)
        room = 0.2 if axes.get_xlabel() == "epoch" else 0.4 * (max(reached) - min(reached)) + 0.01
        axes.set_ylim(max(0.0, min(reached) - room), min(1.0, max(reached) + room / 2))
    elif not results.task.metric.percent:
        _log_if_wide(axes)


def _ends(series: Sequence[Series]) -> str:
    """What lines show, for those who cannot see them."""
    return "; ".join(f"{each.name}: from {each.words[0]} to {each.words[-1]}" for each in series)


def _bins(calibration: Calibration, what: str) -> list[str]:
    bins = zip(calibration.right.nan_to_num(0).tolist(), calibration.count.tolist(), strict=True)
    return [f"{share:.1%} {what.removeprefix('share ')} of {int(count):,}" for share, count in bins]


def _confident(value: float) -> str:
    """Two digits, and near 1 as many as it takes to tell it from 1; seven at most."""
    digits = 2 if value < 0.99 else min(7, math.ceil(-math.log10(max(1 - value, 1e-9))))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if value > 0.99 else f"{value:.2f}"


def _number(error: float) -> str:
    return f"{error:.3f}" if error == error else "unknown"


def _short(name: str) -> str:
    return name if len(name) <= 10 else f"{name[:9]}…"
