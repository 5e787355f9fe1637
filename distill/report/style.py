"""How figures look: the colours of the networks, and axes without ornament."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

COLOURS = {"teacher": "#6b7280", "baseline": "#d97706", "student": "#2563eb"}
INK, FAINT, WRONG = "#1f2937", "#e5e7eb", "#b91c1c"
TERMS = ("#2563eb", "#d97706", "#0d9488", "#9333ea", "#db2777", "#65a30d")
MARKS = {"teacher": "s", "baseline": "^", "student": "o"}
WIDTH, HEIGHT = 4.6, 3.0  # inches: letters are large enough on a phone, and two fit beside each other on a desk


def panel(width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Any]:
    """A figure with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    plain(axes)
    return figure, axes


def settle(figure: Figure) -> None:
    """Find the place of everything once, or it would be looked for anew in each format that is written."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def plain(axes: Any) -> None:
    """Two faint spines and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(which="both", colors=INK, labelsize=9, length=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.label.set(color=INK, fontsize=9.5)
    axes.yaxis.label.set(color=INK, fontsize=9.5)


def legend(axes: Any, **placed: Any) -> None:
    """Of what has a label, if anything has."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, **placed)


def over_latency(axes: Any) -> None:
    """Milliseconds along the x axis, on a logarithmic scale with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("milliseconds for one answer")


def in_percent(axis: Any, decimals: int | None = 0) -> None:
    """Shares as per cent."""
    axis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))
