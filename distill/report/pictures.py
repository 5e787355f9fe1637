"""The pictures of samples on which teacher and student differ most."""

import textwrap
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure

from distill.report.content import Drawing
from distill.report.results import Results
from distill.report.style import INK, WRONG
from distill.tasks.base import Task
from distill.tasks.disagreements import Disagreements, Example

MOST_DRAWN = 8  # samples whose labels are drawn beside what networks say
TEXT_WIDTH, TEXT_LINES = 34, 9  # letters in a line, and lines, of a text in the place of a picture


def drawn(results: Results, found: Disagreements) -> Drawing:
    """For the report."""
    counted = f"{found.total:,} of {results.validation.count:,} {results.noun}"
    are_drawn = any(example.drawn for example in found.shown)
    how = "each with its labels and what the networks say, drawn" if are_drawn else "wrong answers in red"
    return Drawing(
        "disagreements",
        "Where they differ most",
        f"Teacher and student differ on {counted}. Those on which they differ most plainly come first; {how}.",
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
    if any(example.drawn for example in shown):
        return _drawn_side_by_side(results, found)
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


def _drawn_side_by_side(results: Results, found: Disagreements) -> Figure:
    """A line for each of a few samples: the sample, its labels, and what each network says, drawn."""
    shown, task, names = found.shown[:MOST_DRAWN], results.task, results.validation.class_names
    lines = []
    for example in shown:
        image = results.shown(example.index)
        assert isinstance(image, torch.Tensor)
        scores = {name: text for name, (text, _) in example.said.items()}
        drawn = {name: task.drawn(image, label, names) for name, label in example.drawn.items()}
        lines.append([("", image), *((f"{name}  {scores.get(name, '')}", each) for name, each in drawn.items())])
    counted = f"{found.total:,} of {results.validation.count:,} {results.noun}"
    return _grid(lines, f"{counted} on which teacher and student differ")


def labelled(task: Task, images: torch.Tensor, targets: torch.Tensor, class_names: Sequence[str]) -> Figure:
    """(n, C, H, W) uint8 images of a batch, and below each its labels drawn."""
    drawn = [task.drawn(image, target, class_names) for image, target in zip(images, targets, strict=True)]
    lines = [[("", image) for image in images], [("", each) for each in drawn]]
    return _grid(lines, f"{len(images)} training images as they are shown, and their labels")


def _grid(lines: Sequence[Sequence[tuple[str, torch.Tensor]]], title: str) -> Figure:
    """Pictures in lines and columns, a few words above each."""
    columns, side, above = max(map(len, lines)), 1.6, 0.5
    height = above + len(lines) * (side + 0.25)
    figure = Figure(figsize=(columns * (side + 0.1), height))
    figure.suptitle(title, x=0.01, y=1 - 0.12 / height, ha="left", va="top", color=INK, fontsize=10)
    room = {"left": 0.01, "right": 0.99, "top": 1 - above / height, "bottom": 0.01, "hspace": 0.16, "wspace": 0.05}
    for line, panels in zip(lines, figure.subplots(len(lines), columns, squeeze=False, gridspec_kw=room), strict=True):
        for axes in panels:
            axes.set_axis_off()
        for (words, picture), axes in zip(line, panels, strict=False):
            _draw(axes, picture.expand(3, -1, -1))  # grey as it is, as in what is drawn on it
            axes.set_title(words, fontsize=7, loc="left", color=INK, pad=2, parse_math=False)
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
