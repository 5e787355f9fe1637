"""Several runs side by side: those that differ only in their seed are one row, with mean and spread."""

import argparse
import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePath

from rich.console import Console
from rich.table import Table

from distill.errors import OneLineParser, SettingError
from distill.files import write_atomically, write_text
from distill.report.comparison import HEADS, comparison, each_run, rows, verdict
from distill.report.groups import Finished, Group, find_runs, grouped, varying
from distill.report.markdown import markdown_table, render_markdown
from distill.report.page import render_page

SHOWN = HEADS[:8]  # what fits a terminal
PRINT = Path("-")  # a file that is none: what it would hold is printed


def main(arguments: Sequence[str]) -> None:
    """The command."""
    options = _options(arguments)
    runs = find_runs([directory.expanduser() for directory in options.directories])
    groups = grouped(runs)
    if options.figure is not None:
        draw(runs, options.figure.expanduser())
    if options.csv is not None:
        write_text(options.csv.expanduser(), as_csv(groups))
    if options.html is not None:
        write_text(options.html.expanduser(), render_page(comparison(runs)))
    if options.markdown == PRINT:
        found = rows(groups)
        print(markdown_table(HEADS, [list(row.values()) for row in found]))
        return
    if options.markdown is not None:
        write_markdown(runs, options.markdown.expanduser())
    _print(groups)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = OneLineParser(prog="compare", description=__doc__)
    parser.add_argument("directories", nargs="*", type=Path, help="runs, or directories of runs (a sweep)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the whole comparison as one page")
    markdown = "the same as Markdown, its figure beside it; without FILE, print the table alone"
    parser.add_argument("--markdown", type=Path, metavar="FILE", nargs="?", const=PRINT, help=markdown)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a row a run")
    parser.add_argument("--figure", type=Path, help="draw the student's score over each number that varies; FILE.png")
    options = parser.parse_args(arguments)
    if options.markdown is not None and options.markdown.expanduser().is_dir():  # --markdown RUN RUN: prints
        options.directories, options.markdown = [options.markdown, *options.directories], PRINT
    if not options.directories:
        parser.error("give directories of finished runs, or of a sweep")
    return options


def write_markdown(runs: Sequence[Finished], file: Path) -> None:
    """The comparison as Markdown, each figure as FILE-NAME.png beside it."""
    report = comparison(runs)
    beside = {drawing.name: PurePath(f"{file.stem}-{drawing.name}.png") for drawing in report.drawings}
    text = render_markdown(report, beside)
    for drawing in report.drawings:
        write_atomically(file.parent / beside[drawing.name], partial(drawing.figure.savefig, format="png", dpi=160))
    write_text(file, text)


def as_csv(groups: Sequence[Group]) -> str:
    """A row a run, under a head."""
    found = list(each_run(groups))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def draw(runs: Sequence[Finished], file: Path) -> None:
    """A figure with a panel for each number that varies between runs: the student's score over it, a dot each run.

    Raises:
        SettingError: no number varies, but the seed.
    """
    from matplotlib.figure import Figure

    found = {path: [run.settings.get(path) for run in runs] for path in varying(runs)}
    numbers = {path: values for path, values in found.items() if all(isinstance(v, int | float) for v in values)}
    if not numbers:
        raise SettingError(f"--figure={file}: no number varies between these runs")
    scores = [run.score("student") for run in runs]
    figure = Figure(figsize=(4 * len(numbers), 3.5), layout="constrained")
    for axes, (path, values) in zip(figure.subplots(1, len(numbers), squeeze=False)[0], numbers.items(), strict=True):
        axes.plot(values, scores, "o")
        axes.set_xlabel(path)
        axes.set_ylabel(runs[0].metric.words)
    write_atomically(file, lambda path: figure.savefig(path, format=file.suffix.removeprefix(".") or "png"))


def _print(groups: Sequence[Group]) -> None:
    found = rows(groups)
    heads = [head for head in SHOWN if any(row[head] for row in found)]
    metrics = ", ".join(dict.fromkeys(group.metric.words for group in groups))
    shares = " in percent, gains in points" if groups[0].metric.percent else ""
    table = Table(caption=f"{metrics}{shares}; p of the gain, after Holm")
    for place, name in enumerate(heads):
        table.add_column(name, justify="left" if place == 0 else "right", overflow="fold" if place == 0 else "ellipsis")
    for row in found:
        table.add_row(*(row[head] for head in heads))
    console = Console()
    console = console if console.is_terminal else Console(width=140)
    console.print(table)
    console.print(verdict(groups), markup=False, highlight=False)
