"""The main job with profile=true."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from distill.training.profiling import PARTS

TINY = ("trainer.max_epochs=2", "trainer.precision=32-true", "baseline=false")


@pytest.fixture(scope="module")
def profiled(command: Any, finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("profiled") / "run"
    teacher = f"teacher.checkpoint={finished.directory}/teacher.safetensors"
    done = command("train.py", "profile=true", teacher, *TINY, f"hydra.run.dir={directory}")
    # The tracer keeps to itself; two epochs teach next to nothing, which is said.
    assert all(" ends at " in line for line in done.stderr.splitlines())
    return directory


def test_every_part_is_found(profiled: Path) -> None:
    said = json.loads((profiled / "profile.json").read_text())
    assert (said["steps"], said["traced"]) == (10, 5)  # of 20
    assert tuple(said["milliseconds"]) == PARTS
    assert all(spent > 0 for spent in said["milliseconds"].values())  # or Lightning has other names for things now


def test_the_trace(profiled: Path) -> None:
    events = json.loads((profiled / "trace.json").read_text())["traceEvents"]
    names = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    spans = ("train_dataloader_next", "student", "method", "backward", "optimizer_step", "on_train_batch_end")
    assert {span: names.count(span) for span in spans} == dict.fromkeys(spans, 5)
    assert "teacher" in names
    assert any(event["name"].startswith("aten::") for event in events)


def test_the_report_says_so(profiled: Path, finished: Any) -> None:
    page = (profiled / "report.html").read_text()
    assert "Where the time goes" in page
    assert all(f'<th scope="row" class="words">{part}</th>' in page for part in PARTS)
    assert " of a step" in page[page.index("Where the time goes") :]
    assert "Where the time goes" not in (finished.directory / "report.html").read_text()
    assert "profile" not in json.loads((profiled / "summary.json").read_text())


def test_the_student_is_none_the_worse(profiled: Path, finished: Any, weights: Any) -> None:
    ours, theirs = (weights(run / "student.safetensors") for run in (profiled, finished.directory))
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_a_finished_stage_keeps_its_profile(profiled: Path, run_here: Any, tmp_path: Path) -> None:
    run = shutil.copytree(profiled, tmp_path / "copy")
    (run / "report.html").unlink()
    run_here(f"resume={run}", "preflight=false")
    assert (run / "profile.json").read_text() == (profiled / "profile.json").read_text()
    assert "Where the time goes" in (run / "report.html").read_text()
