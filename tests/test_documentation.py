"""The reference of settings is current, and docs/ is a site that builds without a warning and fetches nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distill.config.reference import Setting, reference, settings_of

ROOT = Path(__file__).parents[1]


def test_the_reference_of_settings_is_current() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text()
    assert written == reference(ROOT / "configs"), "run python scripts/list_settings.py"


def test_comments_go_to_their_settings() -> None:
    text = """\
# @package _global_
# What it is,
# in two lines.
defaults: [auto, _self_]
_target_: some.thing
size: 3       # how large;
              # and how wide
name: "a # b"
# Of all that follows:
part:         # a part
  rate: null  # its rate
  # Of these two:
  flow: {a: 1,
         b: 2}  # both
  many: [1, 2]
"""
    assert settings_of(text) == (
        "What it is, in two lines.",
        [
            Setting("size", "3", "how large; and how wide", ""),
            Setting("name", '"a # b"', "", ""),
            Setting("part", "", "a part", "Of all that follows:"),
            Setting("part.rate", "null", "its rate", ""),
            Setting("part.flow", "{a: 1, b: 2}", "both", "Of these two:"),
            Setting("part.many", "[1, 2]", "", ""),
        ],
    )


def test_the_site_builds_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").glob("*.html"))
    assert {page.stem for page in pages} >= {file.stem for file in (ROOT / "docs").glob("*.md")}
    fetched = re.compile(r"<(?:script|link|img)\b[^>]*(?:src|href)=\"?https?://[^>]*>")
    assert [found for page in pages for found in fetched.findall(page.read_text())] == []
