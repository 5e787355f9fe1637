"""What a report consists of, whatever it is written as: a page, Markdown, images in TensorBoard."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph. quiet: said in passing."""

    text: str
    quiet: bool = True


@dataclass(frozen=True, slots=True)
class Lines:
    """Text that stays as it is, line by line. summary: what stands for it until it is opened; None: it is open."""

    text: str
    summary: str | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """Of a table. value: what it is sorted by; None for an empty one, which is sorted last."""

    text: str
    value: float | str | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads.

    caption: what it shows. sortable: whether the reader may sort it; then rows hold Cells. words: how many columns
    from the left hold words, the others hold numbers. networks: whether the first cell of a row names a network.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    sortable: bool = False
    words: int = 1
    networks: bool = False

    def texts(self) -> list[list[str]]:
        """Its rows as text."""
        return [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in self.rows]


@dataclass(frozen=True, slots=True)
class Series:
    """Points of a figure whose values a reader may ask for.

    name: of what they are of. x, y: (points,) in the figure's data. words: what each says.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    words: Sequence[str]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure with what can be said of it.

    name: of its file and element. title: above it. caption: below it. seen: what it shows, in words, for those who
    cannot see it. series: whose values can be asked for, all in the figure's first axes. wide: whether it needs a line
    for itself. tag: under which TensorBoard shows it; None where that draws these curves itself.
    """

    name: str
    title: str
    caption: str
    seen: str
    figure: Figure
    series: Sequence[Series] = ()
    wide: bool = False
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Drawings:
    """Figures side by side, where there is room."""

    drawings: Sequence[Drawing]


Block = Text | Lines | Table | Drawings


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report. name: of its element."""

    name: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """A whole one.

    title, facts: what it is of. headline: the one number; None where there is none. verdict: the one sentence.
    """

    title: str
    facts: str
    headline: tuple[str, str] | None
    verdict: str
    sections: Sequence[Section]
    footer: str

    @property
    def drawings(self) -> list[Drawing]:
        """All figures."""
        blocks = (block for section in self.sections for block in section.blocks)
        return [drawing for block in blocks if isinstance(block, Drawings) for drawing in block.drawings]
