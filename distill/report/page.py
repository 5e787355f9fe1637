"""report.html: one page that needs nothing beside it."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from distill.report.content import Cell, Drawing, Report
from distill.report.style import COLOURS
from distill.report.svg import points, svg


def render_page(report: Report) -> str:
    """The page as HTML, with figures, style and script in it."""
    return _environment().get_template("report.html").render(report=report)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("distill.report", "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"svg": _svg, "points": points, "networks": COLOURS, "text_of": _text, "key_of": _key}
    return environment


def _svg(drawing: Drawing) -> Markup:
    return Markup(svg(drawing))


def _text(cell: Cell | str) -> str:
    return cell.text if isinstance(cell, Cell) else cell


def _key(cell: Cell | str) -> str:
    """What a cell is sorted by, empty for nothing."""
    value = cell.value if isinstance(cell, Cell) else cell
    return "" if value is None else str(value)
