"""report.md: the content of the page, its figures in files beside it."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from distill.report.content import Block, Drawings, Lines, Report, Table


def render_markdown(report: Report, files: Mapping[str, PurePath]) -> str:
    """The report as Markdown.

    files: of the figures, by name, as seen from where it is written.
    """
    headline = [f"**{' '.join(report.headline)}**"] if report.headline else []
    parts = [f"# {_plain(report.title)}", _plain(report.facts), *headline, _plain(report.verdict)]
    for section in report.sections:
        parts.append(f"## {section.title}")
        parts += [_block(block, files) for block in section.blocks]
    return "\n\n".join([*parts, _plain(report.footer)]) + "\n"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """As GitHub and others read it; so many columns from the left are words, the others numbers."""
    bars = ["---"] * words + ["---:"] * (len(heads) - words)
    return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in (heads, bars, *rows))


def _block(block: Block, files: Mapping[str, PurePath]) -> str:
    if isinstance(block, Table):
        return f"{_plain(block.caption)}\n\n{markdown_table(block.heads, block.texts(), block.words)}"
    if isinstance(block, Drawings):
        return "\n\n".join(
            f"### {_plain(drawing.title)}\n\n![{_plain(drawing.seen)}]({files[drawing.name].as_posix()})\n\n"
            f"{_plain(drawing.caption)}"
            for drawing in block.drawings
        )
    if isinstance(block, Lines):
        summary = [] if block.summary is None else [_plain(block.summary)]
        return "\n\n".join([*summary, "\n".join(f"    {line}" for line in block.text.splitlines())])
    return _plain(block.text)


def _plain(text: str) -> str:
    """Without what Markdown would take for a tag, an emphasis or the end of a cell; in one line."""
    for sign in "\\`*_<>[]|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
