"""Training throughput beside other ways: that all do the same job, and what is said of them. No times."""

import argparse
import json
import re
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarking import commands, train
from benchmarking.by_hand import PRECISIONS, distillation_loss, floor, folded, plain
from benchmarking.commands import seconds_to_first_step, trained
from benchmarking.job import Job, Steps
from benchmarking.torchdistill_box import torchdistill

from distill.methods import KD
from distill.types import Batch, Outputs

TINY = ["--teacher=resnet8", "--student=resnet8", "--batch-size=4", "--steps=3", "--epochs=1", "--rounds=2"]
LOOPS: dict[str, Callable[[Job], Steps]] = {
    "torchdistill": lambda job: torchdistill(job, workers=0),
    "plain": lambda job: plain(job, workers=0),
    "floor": partial(floor, precision="32-true", cached=False),
    "floor in bfloat16": partial(floor, precision="bf16-mixed", cached=False),
    "floor, cached": partial(floor, precision="bf16-mixed", cached=True),
}


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args([*TINY, "--device=cpu", *arguments])


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(options(), tmp_path)


@pytest.mark.parametrize("way", LOOPS)
def test_every_way_trains_the_student_alone(way: str, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = job.teacher(), job.student()
    monkeypatch.setattr(job, "teacher", lambda: teacher)
    monkeypatch.setattr(job, "student", lambda: student)
    knowledge = {name: value.clone() for name, value in teacher.named_buffers()}
    before = [parameter.clone() for parameter in student.parameters()]
    steps = list(islice(LOOPS[way](job), 4))  # of 3 an epoch
    assert len(steps) == 4
    moved = [not torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True)]
    assert all(moved)
    assert all(torch.isfinite(parameter).all() for parameter in student.parameters())
    assert student.training
    if not way.startswith("floor"):  # which has folded these
        assert all(torch.equal(value, knowledge[name]) for name, value in teacher.named_buffers())


def test_a_folded_teacher_says_the_same(job: Job) -> None:
    teacher = job.teacher().double()
    images = job.normalised(job.images).double()
    expected = teacher(images)
    assert expected.std() > 0.1
    norms = [module for module in folded(teacher).modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert not norms
    torch.testing.assert_close(teacher(images), expected, rtol=1e-6, atol=1e-6)


def test_the_loss_is_that_of_kd(job: Job) -> None:
    torch.manual_seed(0)
    logits, answers = torch.randn(2, 6, 10, dtype=torch.double) * 3
    targets = torch.arange(6)
    terms = KD()(Outputs(logits, {}), Outputs(answers, {}), Batch(torch.empty(6), targets, targets))
    torch.testing.assert_close(distillation_loss(logits, answers, targets), sum(terms.values()), check_dtype=False)


def test_images_of_a_file_are_spread_over_it(tmp_path: Path) -> None:
    labels = np.arange(40) // 4
    images = np.broadcast_to(labels[:, None, None, None], (40, 8, 8, 3)).astype(np.uint8)
    file = tmp_path / "given.npz"
    np.savez(file, train_images=images, train_labels=labels, val_images=images[:5], val_labels=labels[:5])
    job = Job(options(f"--data={file}"), tmp_path)
    assert len(job.images) == 4 * 3
    assert set(job.targets.tolist()) == set(range(10))
    assert torch.equal(job.images[:, 0, 0, 0], job.targets.to(torch.uint8))


def test_the_settings_do_the_job(job: Job, tmp_path: Path, run_here: Callable[..., Path]) -> None:
    start, file = time.time(), tmp_path / "first_step"
    answers = f"teaching.dir={tmp_path / 'answers'}"
    run = run_here(*job.overrides, *train.VARIANTS["cached answers"], answers, *commands.watching(file))
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["teacher"]["name"], summary["student"]["name"]) == ("resnet8", "resnet8")
    assert summary["precision"] in PRECISIONS
    assert summary["student"]["images_per_second"] > 0
    assert list((tmp_path / "answers").iterdir())
    assert start < float(file.read_text()) < time.time()


COMMAND = """
import sys, time
from pathlib import Path
given = dict(argument.split("=", 1) for argument in sys.argv[1:])
if "refuse" in given:
    sys.exit("no such setting")
directory, file = Path(given["hydra.run.dir"]), Path(given.get("+callbacks.first_step.file", "none"))
directory.mkdir(exist_ok=True)
(directory / "summary.json").write_text('{"student": {"images_per_second": 7}}')
if file.parent == directory:
    file.with_suffix(".partial").write_text(repr(time.time()))
    file.with_suffix(".partial").rename(file)
    time.sleep(1000)
"""


@pytest.fixture
def instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that takes the settings of train.py, and no time."""
    monkeypatch.setattr(commands, "TRAIN", tmp_path / "train.py")
    commands.TRAIN.write_text(COMMAND)


@pytest.mark.usefixtures("instant")
def test_what_a_command_found(tmp_path: Path) -> None:
    assert trained(tmp_path / "run", ["seed=1"])["student"]["images_per_second"] == 7
    with pytest.raises(RuntimeError, match="no such setting"):
        trained(tmp_path / "other", ["refuse=1"])


@pytest.mark.usefixtures("instant")
def test_the_first_step_is_noticed_and_is_the_last(tmp_path: Path) -> None:
    assert 0 < seconds_to_first_step(tmp_path / "run") < 100
    with pytest.raises(RuntimeError, match="no such setting"):
        seconds_to_first_step(tmp_path / "other", ["refuse=1"])


def test_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def quick(directory: Path, overrides: list[str]) -> dict[str, Any]:
        asked.append(overrides)
        precision = "32-true" if "trainer.precision=32-true" in overrides else "bf16-mixed"
        return {"precision": precision, "student": {"images_per_second": 1e-3}}

    monkeypatch.setattr(train, "trained", quick)
    monkeypatch.setattr(train, "seconds_to_help", lambda: 1.0)
    monkeypatch.setattr(train, "seconds_to_first_step", lambda directory: 2.0)
    monkeypatch.setattr(train, "MOST_WORKERS", 0)
    monkeypatch.setattr(train, "TRIALS", 1)
    train.run(options("--rounds=1", f"--out={tmp_path}", "seed=3"))
    report = json.loads((tmp_path / "train-cpu.json").read_text())
    rows = {row["way"]: row for row in report["rows"]}
    assert "torchdistill" in rows
    assert all("seed=3" in overrides for overrides in asked)
    for variant in train.VARIANTS:
        ours, floored = rows[f"distill, {variant}"], rows[f"floor, {variant}"]
        assert ours["images/s"] == 1e-3
        assert 0 < ours["x its floor"] < 1
        assert floored["x its floor"] is None
        assert ours["x torchdistill"] > 0
    assert (rows[train.HELP]["seconds"], rows[train.FIRST_STEP]["seconds"]) == (1, 2)
    text = (tmp_path / "train-cpu.md").read_text()
    assert len(re.findall(r"precision (?:bf16-mixed|32-true)\.", text)) == len(train.VARIANTS)


def test_ratios_are_within_a_round() -> None:
    speeds = {"torchdistill": [10.0, 100.0, 1.0], "floor": [20.0, 400.0, 4.0], "distill": [10.0, 300.0, 3.0]}
    rows = {row["way"]: row for row in train.throughput(speeds, {"distill": "floor"})}
    assert rows["distill"]["images/s"] == 10
    assert rows["distill"]["x torchdistill"] == 3
    assert rows["distill"]["x its floor"] == 0.75
    alone = {name: found for name, found in speeds.items() if name != "torchdistill"}
    assert train.throughput(alone, {})[0]["x torchdistill"] is None
