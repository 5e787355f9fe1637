"""Two processes on the CPU."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
# In double precision, for training turns the rounding of one step into percents of a weight in two epochs.
SETTING = ("optimizer=sgd", "trainer.precision=64-true", "trainer.max_epochs=2", "teacher.max_epochs=2")


@pytest.fixture(scope="module")
def two(command: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("two")
    done = command("train.py", *TWO, *SETTING, "data.batch_size=16", f"hydra.run.dir={directory}", spawns=2)
    return directory, done


def test_two_processes_with_half_the_batch_learn_what_one_does(two: Any, run_here: Any, weights: Any) -> None:
    one = run_here(*SETTING, "data.batch_size=32", "trainer=cpu")
    for stage in ("teacher", "baseline", "student"):
        first, second = (weights(run / f"{stage}.safetensors") for run in (one, two[0]))
        assert first.keys() == second.keys()
        for name in first:
            assert first[name].dtype == torch.float64
            torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-11)
    mine, theirs = (json.loads((run / "summary.json").read_text()) for run in (two[0], one))
    for stage in ("teacher", "baseline", "student"):
        assert mine[stage]["accuracy"] == pytest.approx(theirs[stage]["accuracy"])
    # Measured over both processes' shares of the batches and of the validation split.
    logged = [json.loads((run / "checkpoints/student/record.json").read_text())["history"][-1] for run in (two[0], one)]
    for name in ("train/loss", "train/kd", "train/accuracy", "val/accuracy", "val/agreement", "val/ce", "val/kl"):
        assert logged[0][name] == pytest.approx(logged[1][name], rel=1e-5), name


def test_labels_samples_averages_and_the_best_epoch_are_the_same_in_two_processes(
    two: Any, command: Any, run_here: Any, weights: Any, tmp_path: Path
) -> None:
    settings = (
        *SETTING, f"teacher.checkpoint={two[0]}/teacher.safetensors", "baseline=false", "logger=none",
        "preflight=false", "class_weights=[1,2,3,1,1,1,1,1,1,9]", "data.sampling=balanced", "label_smoothing=0.1",
        "averaging=ema", "ema_decay=0.9", "keep=best", "early_stopping.patience=1",
    )  # fmt: skip
    command("train.py", *TWO, *settings, "data.batch_size=16", f"hydra.run.dir={tmp_path}/two", spawns=2)
    one = run_here(*settings, "data.batch_size=32", "trainer=cpu", name="one")
    first, second = (weights(run / "student.safetensors") for run in (one, tmp_path / "two"))
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-9)
    mine, theirs = (json.loads((run / "summary.json").read_text())["student"] for run in (one, tmp_path / "two"))
    assert (mine["kept_epoch"], mine["epochs"]) == (theirs["kept_epoch"], theirs["epochs"])
    assert mine["accuracy"] == theirs["accuracy"]


def test_only_the_first_process_writes_and_speaks(two: Any) -> None:
    directory, done = two
    assert all(" ends at " in line for line in done.stderr.splitlines())  # two epochs teach next to nothing
    lines = done.stdout.splitlines()
    assert sum(line.startswith("student") and " epoch " in line for line in lines) == 2
    assert sum(line.startswith("  student ") for line in lines) == 1
    assert len(list(directory.rglob("train.log"))) == 1
    log = (directory / "train.log").read_text()
    assert log.count("student trained in") == 1
    for stage, files in (("teacher", 1), ("baseline", 1), ("student", 2)):  # the report adds one to the student's
        assert len(list((directory / "tensorboard" / stage).glob("events*"))) == files
    assert not [f.name for f in directory.rglob("*") if f.name.endswith((".tmp", ".partial"))]
    assert (directory / "report.html").is_file()


def test_a_process_that_fails_is_one_line(command: Any, tmp_path: Path) -> None:
    done = command("train.py", *TWO, *SETTING, "optimizer.lr=1e30", f"hydra.run.dir={tmp_path}", status=2, spawns=2)
    *_, line = done.stderr.splitlines()
    assert line.startswith("error: process ")
    assert "of 2 failed" in line
    assert re.search(
        r"failed: teacher: ce=\S+ in step \d+ \(epoch 1, batch \d+ of samples [\d, ]+\): lower optimizer.lr", line
    )
    assert "Traceback" in (tmp_path / "train.log").read_text()
    assert not (tmp_path / "summary.json").exists()


ONE_IS_WRONG = """
import os

import torch
from torch import nn


class OneIsWrong(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
        self.passes = 0

    def forward(self, images):
        self.passes += self.training
        wrong = self.training and self.passes == 5 and os.environ.get("RANK") == "1"
        return self.network(images) + (torch.nan if wrong else 0)
"""


def test_a_step_that_is_wrong_in_one_process_is_left_out_in_both(command: Any, weights: Any, tmp_path: Path) -> None:
    (tmp_path / "one_is_wrong.py").write_text(ONE_IS_WRONG)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = (
        *TWO, "model@student=custom", "student.target=one_is_wrong.OneIsWrong", "baseline=false", "preflight=false",
        "logger=none", "teacher.max_epochs=0", "trainer.max_epochs=1", "trainer.precision=32-true", "method=[kd]",
    )  # fmt: skip
    run = tmp_path / "skip"
    done = command("train.py", *settings, "on_nonfinite=skip", f"hydra.run.dir={run}", PYTHONPATH=path, spawns=2)
    warned = [line for line in json.loads((run / "summary.json").read_text())["warnings"] if "left out" in line]
    assert len(warned) == 1
    said = re.fullmatch(
        r"student: 1 of \d+ steps were left out \(on_nonfinite=skip\), the first for (ce=nan, kd=nan in step 5 "
        r"\(epoch 1, batch 4 of samples [\d, ]+\))",
        warned[0],
    )
    assert said is not None
    assert done.stderr.count("left out") == 1
    assert all(value.isfinite().all() for value in weights(run / "student.safetensors").values())
    stopped = command("train.py", *settings, f"hydra.run.dir={tmp_path / 'stop'}", PYTHONPATH=path, status=2, spawns=2)
    *_, line = stopped.stderr.splitlines()
    assert re.match(r"error: process [01] of 2 failed: student: ", line)
    assert said[1] in line  # the same step, whichever process says so
