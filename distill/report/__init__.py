"""The evidence at the end of a run: summary.json, a table, figures, a page, and TensorBoard's last entries."""

import json
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from distill.files import FULL, write_atomically, write_text
from distill.report.markdown import render_markdown
from distill.report.page import render_page
from distill.report.results import Provenance, Results, SplitResult, StageResult
from distill.report.sections import report_of
from distill.report.style import settle
from distill.report.table import print_table
from distill.report.tensorboard import log_results

log = logging.getLogger(__name__)

__all__ = ["Provenance", "Results", "SplitResult", "StageResult", "write_report"]


def write_report(results: Results, config: Mapping[str, Any], directory: Path) -> None:
    """Write everything that a finished run leaves behind, and print the table.

    Figures come first and summary.json last: where there is a summary, everything is there. What a full disk has no
    room for is left out, with a warning; without room for the summary either, the table is printed all the same.

    Raises:
        OSError: the summary cannot be written, or another file for another reason than a full disk.
    """
    try:
        _write_pages(results, config, directory)
    except OSError as error:
        if error.errno not in FULL:
            raise
        log.warning(f"the report was not written ({error.strerror}); with room for it, resume={directory} does so")
    try:
        write_text(directory / "summary.json", json.dumps(results.summary(), indent=2) + "\n")
    finally:
        print_table(results, directory)


def _write_pages(results: Results, config: Mapping[str, Any], directory: Path) -> None:
    report = report_of(results, config)
    files = {drawing.name: PurePath("figures") / f"{drawing.name}.png" for drawing in report.drawings}
    for drawing in report.drawings:
        settle(drawing.figure)
        write_atomically(directory / files[drawing.name], partial(drawing.figure.savefig, dpi=160))
    log_results(results, config, report.drawings, directory / "tensorboard")
    write_text(directory / "report.md", render_markdown(report, files))
    write_text(directory / "report.html", render_page(report))
