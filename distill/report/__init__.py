"""The evidence at the end of a run: summary.json, a table, figures, a page, and TensorBoard's last entries."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.files import write_text
from distill.report.figures import draw_figures, save_figures
from distill.report.page import render_page
from distill.report.results import Results, SplitResult, StageResult
from distill.report.table import print_table
from distill.report.tensorboard import log_results

__all__ = ["Results", "SplitResult", "StageResult", "write_report"]


def write_report(results: Results, config: Mapping[str, Any], directory: Path) -> None:
    """Write everything that a finished run leaves behind, and print the table.

    Figures come first and summary.json last: where there is a summary, everything is there.
    """
    figures = draw_figures(results)
    files = save_figures(figures, directory / "figures")
    log_results(results, config, figures, directory / "tensorboard")
    write_text(directory / "report.html", render_page(results, config, files))
    write_text(directory / "summary.json", json.dumps(results.summary(), indent=2) + "\n")
    print_table(results, directory)
