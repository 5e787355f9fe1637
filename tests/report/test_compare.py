"""Runs side by side, from files made up by hand."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from distill.errors import SettingError
from distill.report.compare import compare, find_runs, main, spread


def write(directory: Path, student: float, *, baseline: float | None = 0.5, **settings: Any) -> None:
    directory.mkdir(parents=True)
    config = {"defaults": ["_self_"], "seed": 0, "resume": None, "method": {"kd": {"temperature": 4.0}}, **settings}
    said = {
        "method": list(config["method"]),
        "teacher": {"accuracy": 0.98},
        "baseline": None if baseline is None else {"accuracy": baseline},
        "student": {"accuracy": student, "agreement": 0.75},
        "gain_points": None if baseline is None else 100 * (student - baseline),
    }
    (directory / "summary.json").write_text(json.dumps(said))
    OmegaConf.save(OmegaConf.create(config), directory / "config.yaml")


def test_seeds_are_one_row_with_mean_and_sample_deviation(tmp_path: Path) -> None:
    accuracies = (0.90, 0.92, 0.97)
    for seed, accuracy in enumerate(accuracies):
        write(tmp_path / str(seed), accuracy, seed=seed, resume=f"somewhere/{seed}")
    (row,) = compare(find_runs([tmp_path]))
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
    rows = compare(find_runs([tmp_path]))
    assert [(row["setting"], row["runs"]) for row in rows] == [
        ("method=kd method.kd.temperature=2.0", "2"),
        ("method=kd method.kd.temperature=8.0", "1"),
        ("method=at", "1"),
    ]
    assert [row["student"] for row in rows] == ["85.0 ± 7.1", "70.0", "60.0"]


def test_runs_without_a_baseline_have_no_gain(tmp_path: Path) -> None:
    write(tmp_path / "one", 0.9, baseline=None)
    (row,) = compare(find_runs([tmp_path / "one"]))
    assert (row["baseline"], row["gain"], row["student"]) == ("", "", "90.0")


def test_a_baseline_counts_for_all_runs_whose_student_would_be_the_same_alone(tmp_path: Path) -> None:
    for seed, baseline in enumerate((0.5, 0.6)):
        write(tmp_path / f"kd{seed}", 0.7, baseline=baseline, seed=seed, width=4)
        write(tmp_path / f"at{seed}", 0.8, baseline=None, seed=seed, width=4, method={"at": {"weight": 1.0}})
    write(tmp_path / "wider", 0.9, baseline=None, seed=0, width=8, method={"at": {"weight": 1.0}})
    rows = {row["setting"]: row for row in compare(find_runs([tmp_path]))}
    assert rows["method=kd width=4"]["gain"] == "+15.0 ± 7.1"
    assert (rows["method=at width=4"]["baseline"], rows["method=at width=4"]["gain"]) == ("55.0 ± 7.1", "+25.0 ± 7.1")
    assert (rows["method=at width=8"]["baseline"], rows["method=at width=8"]["gain"]) == ("", "")


def test_directories_without_runs_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        SettingError, match=r"empty: no summary\.json in or below it; give directories of finished runs"
    ):
        find_runs([tmp_path / "empty"])


def test_markdown_and_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a", 0.9, seed=1)
    write(tmp_path / "b", 0.8, seed=2, method={"kd": {"temperature": 1.0}})
    main(["--markdown", str(tmp_path / "a"), str(tmp_path / "b")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| setting | runs | teacher | baseline | student | gain | agreement |"
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    assert lines[2] == "| method.kd.temperature=4.0 | 1 | 98.0 | 50.0 | 90.0 | +40.0 | 75.0 |"
    assert len(lines) == 4
    main([str(tmp_path)])
    table = capsys.readouterr().out
    for cell in ("method.kd.temperature=4.0", "method.kd.temperature=1.0", "+40.0", "+30.0"):
        assert cell in table


def test_spread() -> None:
    assert spread([]) == ""
    assert spread([1.25], signed=True) == "+1.2"
    assert spread([1.0, 3.0]) == "2.0 ± 1.4"
    assert spread([-1.0, -3.0], signed=True) == "-2.0 ± 1.4"
