"""report.html: one page that needs nothing beside it."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from omegaconf import OmegaConf

from distill.report.results import Results
from distill.report.table import columns, rows

CAPTIONS = {
    "curves": "How the stages learnt. The baseline is the student trained the same way without the teacher; losses of "
    "different stages are different functions and are not to be compared.",
    "reliability": "Calibration on the validation split. A network on the dotted line is right as often as it says.",
    "thresholds": "What each network would find, and how much of that is so, if a label were named from another "
    "probability on than 0.5.",
    "disagreements": "Where teacher and student differ, surest first; wrong answers in red.",
}

PARTS = {
    "data": "waiting for the batch, and making it",
    "teacher": "its answers",
    "student": "forward pass",
    "method": "losses",
    "backward": "gradients",
    "optimizer": "new weights, learning rate",
    "logging": "values of single steps",
    "rest": "scores of the batch, what Lightning does",
}


def render_page(results: Results, config: Mapping[str, Any], figures: dict[str, Path]) -> str:
    """The page as HTML, figures embedded."""
    environment = Environment(
        loader=PackageLoader("distill.report", "templates"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pictures = [
        {"name": name, "caption": CAPTIONS[name], "data": base64.b64encode(file.read_bytes()).decode()}
        for name, file in figures.items()
    ]
    return environment.get_template("report.html").render(
        results=results,
        columns=columns(results),
        rows=rows(results),
        gain=results.judged.gain_points,
        verdict=results.verdict(),
        pictures=pictures,
        parts=PARTS,
        config=OmegaConf.to_yaml(config),
    )
