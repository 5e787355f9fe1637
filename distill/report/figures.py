"""The figures of a run."""

import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from distill.files import write_atomically
from distill.report.results import Results
from distill.tasks.calibration import BINS
from distill.tasks.disagreements import Disagreements

COLOURS = {"teacher": "#6b7280", "baseline": "#d97706", "student": "#2563eb"}
INK, FAINT, WRONG = "#1f2937", "#e5e7eb", "#b91c1c"
TEXT_WIDTH, TEXT_LINES = 34, 9  # letters in a line, and lines, of a text in the place of a picture
TITLE = {"loc": "left", "fontsize": 10, "color": INK}


def draw_figures(results: Results) -> dict[str, Figure]:
    """Every figure by its file's name."""
    figures = {"curves": curves(results), "reliability": reliability_diagrams(results)}
    if any(scored.curve for scored in results.validation.networks.values()):
        figures["thresholds"] = threshold_curves(results)
    if results.validation.disagreements is not None:
        figures["disagreements"] = disagreements(results, results.validation.disagreements)
    return figures


def save_figures(figures: dict[str, Figure], directory: Path) -> dict[str, Path]:
    """Write each as a PNG file; returns the files by name."""
    files = {name: directory / f"{name}.png" for name in figures}
    for name, file in files.items():
        write_atomically(file, partial(figures[name].savefig, dpi=160))
    return files


def curves(results: Results) -> Figure:
    """The task's metric on the validation split and the training loss of each stage over its epochs."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    score, loss = figure.subplots(1, 2)
    metric, reached = results.task.metric, []
    for stage, result in results.stages.items():
        final = results.validation.score(stage)
        if final is None:
            continue
        reached.append(final)
        if result.record is None:
            score.axhline(final, color=COLOURS[stage], linestyle="--", linewidth=1.2, label=stage)
            continue
        for axes, name in ((score, metric.logged), (loss, "train/loss")):
            points = [(epoch["epoch"], epoch[name]) for epoch in result.record.history if name in epoch]
            if points:
                axes.plot(*zip(*points, strict=True), color=COLOURS[stage], linewidth=1.8, label=stage)
    score.set_title(f"validation {metric.words}", **TITLE)
    if metric.percent:
        score.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        score.set_ylim(max(0.0, min(reached) - 0.2), min(1.0, max(reached) + 0.1))
    elif min(reached) > 0:
        score.set_ylim(0.9 * min(reached), 2 * max(reached))
    loss.set_title("training loss (each stage's own)", **TITLE)
    low, high = loss.dataLim.intervaly
    if high > 10 * low > 0:
        loss.set_yscale("log")
    for axes in (score, loss):
        _plain(axes)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=9)
    return figure


def reliability_diagrams(results: Results) -> Figure:
    """How often each network is right when it says how sure it is; below, how often it says so."""
    known = results.validation.networks
    figure = Figure(figsize=(3.4 * len(known), 4.2), layout="constrained")
    panels = figure.subplots(2, len(known), squeeze=False, sharex=True, height_ratios=[3, 1], sharey="row")
    centres, width = ((torch.arange(BINS) + 0.5) / BINS).tolist(), 0.9 / BINS
    for (stage, scored), upper, lower in zip(known.items(), panels[0], panels[1], strict=True):
        count = scored.calibration.count
        upper.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
        upper.bar(centres, scored.calibration.right.nan_to_num(0).tolist(), width=width, color=COLOURS[stage])
        upper.set_title(f"{stage}\ncalibration error {scored.values['ece']:.3f}", **TITLE)
        lower.bar(centres, (count / count.sum()).tolist(), width=width, color=COLOURS[stage], alpha=0.5)
        lower.set_xlabel(results.task.confidence)
        for axes in (upper, lower):
            _plain(axes)
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[0][0].set_ylabel(results.task.share_right)
    panels[1][0].set_ylabel("share of\nanswers")
    panels[1][0].set_ylim(bottom=0)
    return figure


def threshold_curves(results: Results) -> Figure:
    """Lines of each network over a threshold, such as its precision."""
    known = {name: s.curve for name, s in results.validation.networks.items() if s.curve is not None}
    figure = Figure(figsize=(3.4 * len(known), 3.4), layout="constrained")
    panels = figure.subplots(1, len(known), squeeze=False, sharey=True)[0]
    for (stage, curve), axes in zip(known.items(), panels, strict=True):
        for (name, line), style in zip(curve.lines.items(), (":", "--", "-"), strict=False):
            axes.plot(curve.points, line, color=COLOURS[stage], linewidth=1.6, linestyle=style, label=name)
        _plain(axes)
        axes.set_title(stage, **TITLE)
        axes.set_xlabel(curve.x)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(next(iter(known.values())).title, x=0.01, ha="left", color=INK, fontsize=10)
    return figure


def disagreements(results: Results, found: Disagreements) -> Figure:
    """Samples that teacher and student name differently, the plainest first."""
    shown = found.shown
    title = f"{found.total:,} of {results.validation.count:,} {results.noun} on which teacher and student differ"
    figure, panels = _pictures(len(shown), title)
    for place, axes in enumerate(panels):
        axes.set_axis_off()
        axes.set_anchor("NW")
        if place >= len(shown):
            continue
        example = shown[place]
        _draw(axes, results.shown(example.index))
        axes.set_title(f"true: {example.truth}", fontsize=7.5, loc="left", color=INK, pad=3, parse_math=False)
        for line, (name, (text, right)) in enumerate(example.said.items()):
            below_it = {"xycoords": "axes fraction", "xytext": (0, -4 - 9 * line), "textcoords": "offset points"}
            colour = INK if right else WRONG
            axes.annotate(f"{name}: {text}", (0, 0), **below_it, fontsize=7, va="top", color=colour, parse_math=False)
    return figure


def _pictures(count: int, title: str) -> tuple[Figure, list[Any]]:
    """Room for so many pictures, six in a row, with a line above each and two below.

    Sizes are in inches: captions are wider than their pictures, which layout engines would shrink to make room.
    """
    columns, above, picture, between, below = 6, 0.6, 1.15, 0.75, 0.4
    lines = max(1, -(-count // columns))
    height = above + lines * picture + (lines - 1) * between + below
    figure = Figure(figsize=(10, height))
    figure.suptitle(title, x=0.01, y=1 - 0.12 / height, ha="left", va="top", color=INK, fontsize=10)
    grid = {
        "left": 0.01,
        "right": 1.0,
        "top": 1 - above / height,
        "bottom": below / height,
        "hspace": between / picture,
        "wspace": 0.05,
    }
    return figure, list(figure.subplots(lines, columns, squeeze=False, gridspec_kw=grid).flat)


def _draw(axes: Any, sample: torch.Tensor | str) -> None:
    """An image, or as much of a text as there is room for."""
    if isinstance(sample, str):
        text = textwrap.fill(textwrap.shorten(sample, TEXT_WIDTH * TEXT_LINES, placeholder=" ..."), TEXT_WIDTH)
        axes.text(0, 1, text, fontsize=6, va="top", color=INK, transform=axes.transAxes, parse_math=False)
    else:
        axes.imshow(_picture(sample), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")


def _picture(image: torch.Tensor) -> Any:
    channels_last = image.permute(1, 2, 0)
    return (channels_last[..., 0] if image.shape[0] != 3 else channels_last).numpy()


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(which="both", colors=INK, labelsize=8, length=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
