"""A figure as SVG inside a page: its letters and colours are the page's, in the light and in the dark."""

import json
import re
from io import StringIO
from typing import Any

import matplotlib as mpl

from distill.report.content import Drawing
from distill.report.style import COLOURS, FAINT, INK, TERMS, WRONG, settle

# By the colours that figures are drawn in, the page's own.
VARIABLES = {
    INK: "--ink",
    FAINT: "--line",
    WRONG: "--wrong",
    **{colour: f"--term{place}" for place, colour in enumerate(TERMS)},
    **{colour: f"--{stage}" for stage, colour in COLOURS.items()},
}
SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "distill", "font.family": "sans-serif"}


def svg(drawing: Drawing) -> str:
    """An <svg> element whose ids begin with the drawing's name; the same for the same figure."""
    settle(drawing.figure)
    drawing.figure.patch.set_alpha(0)
    for axes in drawing.figure.axes:
        axes.patch.set_alpha(0)
    written = StringIO()
    with mpl.rc_context(SETTINGS):
        drawing.figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="([^"]+)"', rf'id="{drawing.name}-\1"', text)
    text = re.sub(r"""(href="|url\()#""", rf"\1#{drawing.name}-", text)
    text = re.sub(r'^<svg [^>]*?(viewBox="[^"]+")[^>]*>', r"<svg \1>", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text


def points(drawing: Drawing) -> str:
    """JSON of the series for the page's script: the size of the figure, its axes' box, and points in its units.

    Called after `svg`, by which the axes have found their place.
    """
    figure = drawing.figure
    if not drawing.series:
        return ""
    axes, unit = figure.axes[0], 72 / figure.dpi
    width, height = figure.get_size_inches() * 72
    box = axes.get_window_extent()
    series = []
    for each in drawing.series:
        placed = axes.transData.transform(list(zip(each.x, each.y, strict=True))) * unit
        rows = zip(placed.tolist(), each.words, strict=True)
        spoken = [[round(x, 1), round(height - y, 1), words] for (x, y), words in rows]
        series.append({"name": each.name, "points": spoken})
    top, bottom = height - box.y1 * unit, height - box.y0 * unit
    return json.dumps({"size": [width, height], "box": [round(top, 1), round(bottom, 1)], "series": series})
