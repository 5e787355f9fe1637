"""Runs side by side, from files made up by hand."""

import csv
import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy.stats import t, ttest_1samp

from distill.errors import SettingError
from distill.report.compare import main
from distill.report.comparison import against_best, best_of, comparison, rows, spread, unbeaten, verdict
from distill.report.content import Table
from distill.report.groups import Group, find_runs, grouped
from distill.report.significance import holm, paired_p_value
from distill.tasks.metric import Metric

ACCURACY = Metric("accuracy", higher_is_better=True, words="accuracy")
COLUMNS = ("setting", "runs", "teacher", "baseline", "student", "gain", "agreement")


def groups_of(directory: Path) -> list[Group]:
    return grouped(find_runs([directory]))


def compare(directory: Path) -> list[dict[str, str]]:
    return [{name: row[name] for name in COLUMNS} for row in rows(groups_of(directory))]


def write(
    directory: Path, student: float, *, baseline: float | None = 0.5, latency: float = 0.1, p: float = 0.5,
    metric: Metric = ACCURACY, **settings: Any,
) -> None:  # fmt: skip
    directory.mkdir(parents=True)
    config = {"defaults": ["_self_"], "seed": 0, "resume": None, "method": {"kd": {"temperature": 4.0}}, **settings}
    said = {
        "metric": metric.name, "higher_is_better": metric.higher_is_better, "percent": metric.percent,
        "data": "digits",
        "method": list(config["method"]),
        "teacher": {"name": "big", "score": 0.98, "latency_ms": 1.0},
        "baseline": None if baseline is None else {"score": baseline},
        "student": {"score": student, "agreement": 0.75, "latency_ms": latency, "parameters": 1824},
        "gain_points": None if baseline is None else 100 * (student - baseline),
        "p_value": None if baseline is None else p,
    }  # fmt: skip
    (directory / "summary.json").write_text(json.dumps(said))
    OmegaConf.save(OmegaConf.create(config), directory / "config.yaml")


def test_seeds_are_one_row_with_mean_and_sample_deviation(tmp_path: Path) -> None:
    accuracies = (0.90, 0.92, 0.97)
    for seed, accuracy in enumerate(accuracies):
        write(tmp_path / str(seed), accuracy, seed=seed, resume=f"somewhere/{seed}")
    (row,) = compare(tmp_path)
    percents = [100 * a for a in accuracies]
    deviation = statistics.stdev(percents)
    assert row == {
        "setting": "all", "runs": "3", "teacher": "98.0 ± 0.0", "baseline": "50.0 ± 0.0",
        "student": f"{statistics.mean(percents):.1f} ± {deviation:.1f}",
        "gain": f"{statistics.mean(percents) - 50:+.1f} ± {deviation:.1f}", "agreement": "75.0 ± 0.0",
    }  # fmt: skip


def test_rows_are_named_by_what_differs(tmp_path: Path) -> None:
    for number, (temperature, accuracy) in enumerate([(2.0, 0.8), (2.0, 0.9), (8.0, 0.7)]):
        write(tmp_path / str(number), accuracy, seed=number, method={"kd": {"temperature": temperature}})
    write(tmp_path / "other", 0.6, method={"at": {"weight": 1.0}})
    rows = compare(tmp_path)
    assert [(row["setting"], row["runs"]) for row in rows] == [
        ("method=kd method.kd.temperature=2.0", "2"),
        ("method=kd method.kd.temperature=8.0", "1"),
        ("method=at", "1"),
    ]
    assert [row["student"] for row in rows] == ["85.0 ± 7.1", "70.0", "60.0"]


def test_runs_without_a_baseline_have_no_gain(tmp_path: Path) -> None:
    write(tmp_path / "one", 0.9, baseline=None)
    (row,) = compare(tmp_path / "one")
    assert (row["baseline"], row["gain"], row["student"]) == ("", "", "90.0")


def test_a_baseline_counts_for_all_runs_whose_student_would_be_the_same_alone(tmp_path: Path) -> None:
    for seed, baseline in enumerate((0.5, 0.6)):
        write(tmp_path / f"kd{seed}", 0.7, baseline=baseline, seed=seed, width=4)
        write(tmp_path / f"at{seed}", 0.8, baseline=None, seed=seed, width=4, method={"at": {"weight": 1.0}})
    write(tmp_path / "wider", 0.9, baseline=None, seed=0, width=8, method={"at": {"weight": 1.0}})
    rows = {row["setting"]: row for row in compare(tmp_path)}
    assert rows["method=kd width=4"]["gain"] == "+15.0 ± 7.1"
    assert (rows["method=at width=4"]["baseline"], rows["method=at width=4"]["gain"]) == ("55.0 ± 7.1", "+25.0 ± 7.1")
    assert (rows["method=at width=8"]["baseline"], rows["method=at width=8"]["gain"]) == ("", "")


def test_directories_without_runs_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        SettingError, match=r"empty: no summary\.json in or below it; give directories of finished runs"
    ):
        find_runs([tmp_path / "empty"])


def test_summaries_of_earlier_versions_have_an_accuracy_alone(tmp_path: Path) -> None:
    write(tmp_path / "run", 0.9)
    said = {"method": ["kd"], "teacher": {"accuracy": 0.98}, "baseline": None, "student": {"accuracy": 0.9}}
    (tmp_path / "run" / "summary.json").write_text(json.dumps(said))
    (row,) = rows(groups_of(tmp_path))
    assert (row["teacher"], row["student"], row["latency ms"]) == ("98.0", "90.0", "")


def test_markdown_and_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a", 0.9, seed=1)
    write(tmp_path / "b", 0.8, seed=2, method={"kd": {"temperature": 1.0}})
    main(["--markdown", str(tmp_path / "a"), str(tmp_path / "b")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| setting | runs | teacher | baseline | student | gain | p | agreement |")
    assert lines[1].startswith("| --- | ---: | ---: |")
    assert lines[2].startswith("| method.kd.temperature=4.0 | 1 | 98.0 | 50.0 | 90.0 | +40.0 | 1.000 | 75.0 |")
    assert len(lines) == 4
    main([str(tmp_path)])
    table = capsys.readouterr().out
    for said in ("method.kd.temperature=4.0", "method.kd.temperature=1.0", "+40.0", "+30.0", "share fewer than two"):
        assert said in table


def test_spread() -> None:
    assert spread([], ACCURACY) == ""
    assert spread([0.0125], ACCURACY, signed=True) == "+1.2"
    assert spread([0.01, 0.03], ACCURACY) == "2.0 ± 1.4"
    assert spread([-0.01, -0.03], ACCURACY, signed=True) == "-2.0 ± 1.4"
    assert spread([12.25, 13.75], Metric("perplexity", False, "perplexity", percent=False)) == "13 ± 1.1"


# ------------------------------------------------------------------------------------------------------- significance


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, None, 0.03, 0.5]) == pytest.approx([0.04, 0.09, None, 0.09, 0.5])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([None]) == [None]


def test_holm_keeps_the_level_for_all_together() -> None:
    drawn = np.random.default_rng(0).uniform(size=(4000, 10))
    wrong = sum(min(p for p in holm(row) if p is not None) < 0.05 for row in drawn.tolist())
    assert wrong / len(drawn) == pytest.approx(0.05, abs=0.012)


def test_paired_differences() -> None:
    assert paired_p_value([1.0, 2.0, 3.0]) == pytest.approx(2 * t.sf(2 / (1 / math.sqrt(3)), df=2))
    assert [paired_p_value(each) for each in ([], [1.0], [0.5, 0.5, 0.5])] == [None] * 3


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three temperatures, three seeds: 4 is best, 8 is a little worse each time, 1 anything."""
    for temperature, latency, scores in ((1.0, 0.1, (0.70, 0.90, 0.80)), (4.0, 0.3, (0.90, 0.92, 0.94)),
                                         (8.0, 0.4, (0.890, 0.911, 0.929))):  # fmt: skip
        for seed, score in enumerate(scores):
            beside = {"seed": seed, "latency": latency, "baseline": 0.6 + seed / 100}
            method = {"kd": {"temperature": temperature}}
            write(tmp_path / "sweep" / f"{temperature}-{seed}", score, **beside, method=method)
    return tmp_path / "sweep"


def test_the_best_and_what_is_beyond_chance(sweep: Path) -> None:
    groups = groups_of(sweep)
    best = best_of(groups)
    assert best is not None
    assert best.name == "method.kd.temperature=4.0"
    first, last = against_best(groups)
    assert first.differences == pytest.approx([-0.2, -0.02, -0.14])
    assert first.p_value == pytest.approx(ttest_1samp([-0.2, -0.02, -0.14], 0).pvalue)
    assert last.p_value == pytest.approx(2 * ttest_1samp([-0.01, -0.009, -0.011], 0).pvalue)
    assert last.p_value < 0.05 < first.p_value
    assert verdict(groups) == (
        "Best: method.kd.temperature=4.0, accuracy 92.0 ± 2.0 (3 runs). Better than 1 of the 2 others beyond chance "
        "(p < 0.05, paired by seed)."
    )
    gains = holm([ttest_1samp([score - 0.6 - seed / 100 for seed, score in enumerate(scores)], 0).pvalue
                  for scores in ((0.70, 0.90, 0.80), (0.90, 0.92, 0.94), (0.890, 0.911, 0.929))])  # fmt: skip
    assert [row["p"] for row in rows(groups)] == [f"{p:.3f}" if p >= 0.001 else "< 0.001" for p in gains if p]


def test_long_names_are_cut_off_where_a_table_says_the_rest(tmp_path: Path) -> None:
    for number in range(2):
        for seed in range(3):
            settings = {f"setting{place}": number for place in range(12)}
            score = 0.8 + 0.05 * number + 0.01 * seed * (1 + number)
            write(tmp_path / f"{number}{seed}", score, seed=seed, **settings)
    groups = groups_of(tmp_path)
    assert [len(group.label) for group in groups] == [70, 70]
    said = verdict(groups)
    assert said.startswith("Best: setting0=1 setting1=1")
    assert "…, accuracy 87.0 ± 2.0 (3 runs). Better than the other beyond chance" in said
    report = comparison(find_runs([tmp_path]))
    assert report.title == "2 settings"
    (differ,) = next(section for section in report.sections if section.name == "differences").blocks
    assert isinstance(differ, Table)
    assert len(differ.rows) == 12
    assert rows(groups)[0]["setting"].count("=0") == 12


def test_of_perplexities_the_least_is_best(tmp_path: Path) -> None:
    perplexity = Metric("perplexity", higher_is_better=False, words="perplexity", percent=False)
    for number, score in enumerate((31.25, 24.5)):
        write(tmp_path / str(number), score, baseline=40.0, metric=perplexity, width=number, seed=0)
    groups = groups_of(tmp_path)
    assert [row["student"] for row in rows(groups)] == ["31.25", "24.5"]
    assert [row["gain"] for row in rows(groups)] == ["+8.75", "+15.5"]
    best = best_of(groups)
    assert best is not None
    assert best.name == "width=1"
    assert unbeaten([(1.0, 31.0), (2.0, 24.0), (3.0, 25.0)], higher_is_better=False) == [(1.0, 31.0), (2.0, 24.0)]


def test_unbeaten_in_latency_and_score() -> None:
    places = [(1.0, 0.9), (0.1, 0.5), (0.1, 0.4), (0.5, 0.5), (0.5, 0.8), (2.0, 0.85)]
    assert unbeaten(places, higher_is_better=True) == [(0.1, 0.5), (0.5, 0.8), (1.0, 0.9)]


# --------------------------------------------------------------------------------------------------------- what is left


def test_the_comparison_as_page_markdown_and_table(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, text, table = (sweep.parent / f"out/compared.{ending}" for ending in ("html", "md", "csv"))
    main([str(sweep), str(sweep), "--html", str(page), "--markdown", str(text), "--csv", str(table)])
    out = capsys.readouterr().out
    assert "Best: method.kd.temperature=4.0" in out
    assert "92.0 ± 2.0" in out
    for file in (page, text):
        said = file.read_text()
        for title in ("Settings", "Against the best", "What they cost", "Where the settings differ", "Runs"):
            assert title in said, title
        assert "92.0 ± 2.0" in said
        assert "1.0 (1) · 4.0 (2) · 8.0 (3)" in said
    assert page.read_text().count("<svg") == 1
    assert "https://" not in page.read_text()
    assert (text.parent / "compared-pareto.png").read_bytes().startswith(b"\x89PNG")
    assert "(compared-pareto.png)" in text.read_text()
    with table.open() as opened:
        lines = list(csv.DictReader(opened))
    assert len(lines) == 9  # a directory that is given twice counts once
    assert [float(line["student"]) for line in lines[:3]] == [0.70, 0.90, 0.80]
    assert {line["method.kd.temperature"] for line in lines} == {"1.0", "4.0", "8.0"}
    (drawing,) = comparison(find_runs([sweep])).drawings
    assert [each.name for each in drawing.series][2:] == ["3: method.kd.temperature=8.0", "teacher big"]


def test_without_directories_it_says_how() -> None:
    with pytest.raises(SettingError, match="give directories of finished runs, or of a sweep"):
        main(["--csv", "x.csv"])
