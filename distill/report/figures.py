"""The figures of a run."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from distill.files import write_atomically
from distill.metrics import CALIBRATION_BINS, reliability
from distill.report.results import Results

COLOURS = {"teacher": "#6b7280", "baseline": "#d97706", "student": "#2563eb"}
INK, FAINT, WRONG = "#1f2937", "#e5e7eb", "#b91c1c"
TITLE = {"loc": "left", "fontsize": 10, "color": INK}
SHOWN_DISAGREEMENTS = 18


def draw_figures(results: Results) -> dict[str, Figure]:
    """Every figure by its file's name."""
    figures = {"curves": curves(results), "reliability": reliability_diagrams(results)}
    if "teacher" in results.validation.logits:
        figures["disagreements"] = disagreements(results)
    return figures


def save_figures(figures: dict[str, Figure], directory: Path) -> dict[str, Path]:
    """Write each as a PNG file; returns the files by name."""
    files = {name: directory / f"{name}.png" for name in figures}
    for name, file in files.items():
        write_atomically(file, partial(figures[name].savefig, dpi=160))
    return files


def curves(results: Results) -> Figure:
    """Validation accuracy and training loss of each stage over its epochs."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    for stage, result in results.stages.items():
        if result.logits is None:
            continue
        if result.record is None:
            accuracy.axhline(result.scores.accuracy, color=COLOURS[stage], linestyle="--", linewidth=1.2, label=stage)
            continue
        for axes, name in ((accuracy, "val/accuracy"), (loss, "train/loss")):
            points = [(epoch["epoch"], epoch[name]) for epoch in result.record.history if name in epoch]
            if points:
                axes.plot(*zip(*points, strict=True), color=COLOURS[stage], linewidth=1.8, label=stage)
    accuracy.set_title("validation accuracy", **TITLE)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    reached = [scores.accuracy for scores in results.validation.scores.values()]
    accuracy.set_ylim(max(0.0, min(reached) - 0.2), min(1.0, max(reached) + 0.1))
    loss.set_title("training loss (each stage's own)", **TITLE)
    low, high = loss.dataLim.intervaly
    if high > 10 * low > 0:
        loss.set_yscale("log")
    for axes in (accuracy, loss):
        _plain(axes)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=9)
    return figure


def reliability_diagrams(results: Results) -> Figure:
    """How often each network is right when it says how sure it is; below, how often it says so."""
    logits, scores = results.validation.logits, results.validation.scores
    figure = Figure(figsize=(3.4 * len(logits), 4.2), layout="constrained")
    panels = figure.subplots(2, len(logits), squeeze=False, sharex=True, height_ratios=[3, 1], sharey="row")
    centres = ((torch.arange(CALIBRATION_BINS) + 0.5) / CALIBRATION_BINS).tolist()
    for (stage, given), upper, lower in zip(logits.items(), panels[0], panels[1], strict=True):
        accuracy, _, count = reliability(given, results.targets)
        upper.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
        upper.bar(centres, accuracy.nan_to_num(0).tolist(), width=0.9 / CALIBRATION_BINS, color=COLOURS[stage])
        upper.set_title(f"{stage}\ncalibration error {scores[stage].ece:.3f}", **TITLE)
        lower.bar(
            centres, (count / count.sum()).tolist(), width=0.9 / CALIBRATION_BINS, color=COLOURS[stage], alpha=0.5
        )
        lower.set_xlabel("confidence")
        for axes in (upper, lower):
            _plain(axes)
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[0][0].set_ylabel("share right")
    panels[1][0].set_ylabel("share of\nimages")
    panels[1][0].set_ylim(bottom=0)
    return figure


def disagreements(results: Results) -> Figure:
    """Images that teacher and student name differently, those first of which both are surest."""
    sure = {name: results.validation.logits[name].softmax(1).max(1) for name in ("teacher", "student")}
    said = {name: top.indices for name, top in sure.items()}
    differ = (said["teacher"] != said["student"]).nonzero().flatten()
    surest = (sure["teacher"].values * sure["student"].values)[differ].argsort(descending=True)
    shown = differ[surest][:SHOWN_DISAGREEMENTS].tolist()
    title = f"{len(differ):,} of {len(results.targets):,} images on which teacher and student differ"
    figure, panels = _pictures(len(shown), title)
    for place, axes in enumerate(panels):
        axes.set_axis_off()
        axes.set_anchor("NW")
        if place >= len(shown):
            continue
        index = shown[place]
        axes.imshow(_picture(results.picture(index)), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
        truth = int(results.targets[index])
        captions = []
        for name in ("teacher", "student"):
            answer = int(said[name][index])
            said_so = f"{name}: {_short(results.class_names[answer])} ({float(sure[name].values[index]):.0%})"
            captions.append((said_so, INK if answer == truth else WRONG))
        axes.set_title(f"true: {_short(results.class_names[truth])}", fontsize=7.5, loc="left", color=INK, pad=3)
        for line, (text, colour) in enumerate(captions):
            below_it = {"xycoords": "axes fraction", "xytext": (0, -4 - 9 * line), "textcoords": "offset points"}
            axes.annotate(text, (0, 0), **below_it, fontsize=7, va="top", color=colour)
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


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


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
