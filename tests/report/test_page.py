"""report.html and report.md, from results made up by hand: read by the standard library, and by Chromium if there."""

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_report import CLASSES, CONFIG, COUNT, NAMES, drawn, made_up, scored

from distill.report import Provenance, Results, write_report
from distill.report.content import Table
from distill.report.figures import gradients
from distill.report.sections import report_of
from distill.report.svg import points, svg
from distill.report.table import rows

CHROMIUM = next((found for name in ("chromium", "google-chrome", "chrome") if (found := shutil.which(name))), None)


class Page(HTMLParser):
    """Its tags with their attributes in order, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    origin = Provenance(["python train.py seed=3"], "/where", {"CPU": "Some <CPU>"}, {"distill": "abc123"})
    write_report(replace(made_up(), provenance=origin), CONFIG, directory)
    return directory


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page((written / "report.html").read_text(encoding="utf-8"))


def test_the_page_needs_nothing_beside_it(written: Path, page: Page) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"https?://|@import|url\((?!#)", text)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "form")
        links = [attributes[name] for name in ("src", "href", "srcset", "data", "action") if name in attributes]
        assert all(link.startswith(("#", "data:image/png;base64,")) for link in links), (tag, links)
    (policy,) = (a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_ids_are_unique_and_what_is_pointed_at_is_there(written: Path, page: Page) -> None:
    counted = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, count in counted.items() if count > 1] == []
    text = (written / "report.html").read_text(encoding="utf-8")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    named = {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert used
    assert used | named <= counted.keys()


def test_those_who_see_or_point_less_are_served_too(page: Page) -> None:
    figures = [attributes for attributes in page.all("div") if attributes.get("role") == "img"]
    assert len(figures) == len(page.all("figure")) == len(page.all("svg")) > 8
    assert all(len(attributes["aria-label"]) > 20 for attributes in figures)
    assert len(page.all("caption")) == len(page.all("table")) > 5
    assert all(attributes["scope"] in ("row", "col") for attributes in page.all("th"))
    assert all("aria-label" in attributes for _, attributes in page.elements if attributes.get("tabindex") == "0"
               and attributes.get("role") != "img" and "data-points" in attributes)  # fmt: skip
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_page_shows_the_table_the_verdict_and_the_config(page: Page) -> None:
    results = made_up()
    for cell in (cell for row in rows(results) for cell in row):
        assert cell in page.text
    assert results.verdict() in page.text
    assert f"{results.judged.gain_points:+.1f}" in page.text
    assert "temperature: 4.0" in page.text
    assert "<script>alert(1)</script>" in page.text  # as text: no such tag was read
    assert len(page.all("script")) == 1
    assert all(said in page.text for said in ("python train.py seed=3", "Some <CPU>", "abc123"))


def test_the_verdict_has_its_interval_and_its_test() -> None:
    results = made_up()
    gain = results.validation.gain
    assert gain is not None
    assert f"95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}" in results.verdict()
    assert f"exact paired test p = {gain.test.p_value:.2g}" in results.verdict()


@pytest.mark.parametrize("results", [made_up(baseline=False), made_up(trained=False), made_up(channels=3)],
                         ids=["no baseline", "loaded teacher", "colour"])  # fmt: skip
def test_every_kind_of_run_has_its_figures(results: Results, tmp_path: Path) -> None:
    write_report(results, CONFIG, tmp_path)
    for name in ("cost", "curves", "losses", "confusion", "agreement", "kl", "reliability_student", "disagreements"):
        with Image.open(tmp_path / "figures" / f"{name}.png") as image:
            assert image.width > 400
            assert len(image.convert("L").getcolors() or []) > 20  # something is drawn
    text = (tmp_path / "report.html").read_text()
    assert ('<tr class="baseline">' in text) == ("baseline" in results.stages)


def test_markdown_says_the_same(written: Path, page: Page) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    files = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert len(files) == len(page.all("figure"))
    assert all((written / file).is_file() for file in files)
    plain = text.replace("\\", "")
    assert made_up().verdict() in plain
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == re.findall(
        r'<h2 id="title-[^"]*">([^<]*)</h2>', (written / "report.html").read_text()
    )
    widths = {line.count(" | ") for line in text.splitlines() if line.startswith("| baseline | net-baseline")}
    assert widths == {len(rows(made_up())[0]) - 1}
    assert "    temperature: 4.0" in text
    assert "\\<i\\>owl\\</i\\>" in text


def test_classes_are_sorted_by_what_was_lost() -> None:
    _, targets, logits = drawn()
    (section,) = (each for each in report_of(made_up(), CONFIG).sections if each.name == "classes")
    (table,) = section.blocks
    assert isinstance(table, Table)
    right = {name: given.argmax(1) == targets for name, given in logits.items()}
    gains = {
        name: float(right["student"][targets == i].double().mean() - right["baseline"][targets == i].double().mean())
        for i, name in enumerate(NAMES)
    }
    assert [row[0] for row in table.texts()] == sorted(gains, key=lambda name: gains[name])
    assert [row[-1] for row in table.texts()] == [f"{100 * gain:+.1f}" for gain in sorted(gains.values())]


def test_values_lie_where_they_are_drawn() -> None:
    (drawing,) = (each for each in report_of(made_up(), CONFIG).drawings if each.name == "losses")
    picture, said = svg(drawing), json.loads(points(drawing))
    assert picture == svg(drawing)
    assert f'viewBox="0 0 {said["size"][0]:g} {said["size"][1]:g}"' in picture
    line, _ = (path for path in re.findall(r'<path d="([^"]*)"[^>]*var\(--student\)', picture) if path.count("L") == 2)
    drawn_at = [[float(number) for number in re.findall(r"[\d.]+", step)] for step in line.split("\n") if step.strip()]
    (student,) = (each for each in said["series"] if each["name"] == "student")
    assert [point[:2] for point in student["points"]] == [pytest.approx(place, abs=0.1) for place in drawn_at]
    assert student["points"][1][2] == "0.5, epoch 2"


def test_shares_of_the_gradient() -> None:
    history = [{"epoch": 1, "gradient/ce": 1.0, "gradient/kd": 3.0}, {"epoch": 2}, {"epoch": 3, "gradient/ce": 2.0,
               "gradient/kd": 2.0}]  # fmt: skip
    drawing = gradients(history)
    assert drawing is not None
    assert {each.name: (each.x, each.y) for each in drawing.series} == {
        "ce": ((1, 3), (0.25, 0.5)), "kd": ((1, 3), (0.75, 0.5)),
    }  # fmt: skip
    assert gradients([{"epoch": 1}]) is None


def test_many_classes_have_pairs_and_no_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    names = [f"class {i}" for i in range(30)]
    logits = {name: torch.randn(90, 30, generator=generator) for name in ("teacher", "baseline", "student")}
    split = scored(logits, torch.arange(90) % 30, class_names=names)
    report = report_of(replace(made_up(), validation=split, shown=lambda index: torch.zeros(1, 8, 8)), CONFIG)
    assert "confusion" not in {drawing.name for drawing in report.drawings}
    (section,) = (each for each in report.sections if each.name == "confusion")
    table = section.blocks[-1]
    assert isinstance(table, Table)
    both = list(zip(logits["teacher"].argmax(1).tolist(), logits["student"].argmax(1).tolist(), strict=True))
    counted = Counter((names[t], names[s]) for t, s in both if t != s)
    assert [int(row[2]) for row in table.texts()] == sorted(counted.values(), reverse=True)[:20]
    assert all(counted[row[0], row[1]] == int(row[2]) for row in table.texts())


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_script_sorts_tables_and_reads_values_without_an_error(written: Path, tmp_path: Path) -> None:
    driven = """<script>
      window.onerror = (message) => { document.title = "error: " + message; };
      addEventListener("load", () => {
        const table = document.querySelector("#section-classes table"), head = table.tHead.rows[0].cells;
        const column = (place) => [...table.tBodies[0].rows].map((row) => Number(row.cells[place].dataset.key));
        head[4].querySelector("button").click();
        const down = column(4).join();
        const said = head[4].getAttribute("aria-sort");
        head[4].querySelector("button").click();
        const up = column(4).join();
        const plot = document.querySelector("#losses .plot");
        plot.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
        const output = plot.querySelector("output");
        document.title = JSON.stringify({ down, said, up, shown: output.textContent, hidden: output.hidden });
      });
    </script>"""
    text = (written / "report.html").read_text(encoding="utf-8").replace("<style>", driven + "<style>", 1)
    (tmp_path / "driven.html").write_text(text, encoding="utf-8")
    dumped = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--dump-dom", f"file://{tmp_path / 'driven.html'}"], capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    (title,) = re.findall("<title>(.*?)</title>", dumped, re.DOTALL)
    said = json.loads(title)
    down = [float(value) for value in said["down"].split(",")]
    assert down == sorted(down, reverse=True)
    assert len(down) == CLASSES
    assert (said["said"], said["up"]) == ("descending", ",".join(reversed(said["down"].split(","))))
    assert said["shown"].splitlines() == [f"{stage}: 1, epoch 1" for stage in ("teacher", "baseline", "student")]
    assert said["hidden"] is False


def test_samples_are_counted() -> None:
    assert made_up().validation.side_by_side is not None
    assert made_up().validation.side_by_side.count == COUNT  # type: ignore[union-attr]
