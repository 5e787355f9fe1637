"""The pictures of samples on which teacher and student differ most."""

import textwrap
from typing import Any

import torch
from matplotlib.figure import Figure

from distill.report.content import Drawing
from distill.report.results import Results
from distill.report.style import INK, WRONG
from distill.tasks.disagreements import Disagreements, Example

TEXT_WIDTH, TEXT_LINES = 34, 9  # letters in a line, and lines, of a text in the place of a picture


def drawn(results: Results, found: Disagreements) -> Drawing:
    """For the report."""
    counted = f"{found.total:,} of {results.validation.count:,} {results.noun}"
    return Drawing(
        "disagreements",
        "Where they differ most",
        f"Teacher and student differ on {counted}. Those on which they differ most plainly come first; wrong answers "
        "in red.",
        "; ".join(_in_words(example) for example in found.shown) or "They agree everywhere.",
        disagreements(results, found),
        wide=True,
        tag="beside the teacher/disagreements",
    )


def _in_words(example: Example) -> str:
    return f"true {example.truth}, " + ", ".join(f"{name} says {text}" for name, (text, _) in example.said.items())


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
