"""Where a step's time goes: which part each moment is charged to, and which steps are looked at."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.training.profiling import MEASURED, PARTS, TRACED, WARMUP, Profile, Profiling, Spans, plan, read_profile

CPU = torch.device("cpu")
# What Lightning says in a training step: how much later, and what starts (+) or ends (-).
STEP = [
    (0, "+[_TrainingEpochLoop].train_dataloader_next"), (5, "-[_TrainingEpochLoop].train_dataloader_next"),
    (1, "+[Strategy]DDPStrategy.batch_to_device"), (2, "+[LightningDataModule]D.transfer_batch_to_device"),
    (1, "-[LightningDataModule]D.transfer_batch_to_device"), (0, "-[Strategy]DDPStrategy.batch_to_device"),
    (3, "+[Callback]X{'every': 1.5}.on_train_batch_start"), (4, "-[Callback]X{'every': 1.5}.on_train_batch_start"),
    (0, "+[LightningModule]DistillModule.optimizer_step"), (10, "+[Strategy]DDPStrategy.training_step"),
    (1, "+teacher"), (40, "-teacher"), (0, "+student"), (20, "-student"), (0, "+method"), (8, "-method"),
    (2, "-[Strategy]DDPStrategy.training_step"),
    (1, "+[LightningModule]DistillModule.optimizer_zero_grad"),
    (1, "-[LightningModule]DistillModule.optimizer_zero_grad"),
    (0, "+[Strategy]DDPStrategy.backward"), (30, "-[Strategy]DDPStrategy.backward"),
    (6, "-[LightningModule]DistillModule.optimizer_step"),
    (0, "+[Callback]X.on_train_batch_end"), (7, "-[Callback]X.on_train_batch_end"),
    (0, "+[LightningModule]DistillModule.on_train_batch_end"), (3, "+teacher"), (2, "-teacher"),
    (9, "-[LightningModule]DistillModule.on_train_batch_end"),
]  # fmt: skip
CHARGED = {"data": 8, "teacher": 42, "student": 20, "method": 8, "backward": 30, "optimizer": 18, "logging": 12,
           "rest": 18}  # fmt: skip


class Played:
    """Plays steps to spans, by a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("distill.training.clock.time.perf_counter", lambda: self.now)

    def __call__(self, spans: Spans, scale: float = 1.0) -> None:
        for later, action in STEP:
            self.now += scale * later / 1000
            (spans.start if action[0] == "+" else spans.stop)(action[1:])


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


# ------------------------------------------------------------------------------------------------------ what is charged


def test_each_moment_is_charged_to_the_innermost_part(play: Played, tmp_path: Path) -> None:
    spans = Spans(CPU, (0, 1, 0), tmp_path / "trace.json")
    play(spans)
    profile = spans.found()
    assert profile is not None
    assert profile.milliseconds == pytest.approx(CHARGED)
    assert profile.total == pytest.approx(sum(later for later, _ in STEP))
    assert profile.shares == pytest.approx({part: spent / 156 for part, spent in CHARGED.items()})
    assert tuple(profile.milliseconds) == PARTS
    assert not (tmp_path / "trace.json").exists()


def test_means_over_the_steps_after_warm_up(play: Played, tmp_path: Path) -> None:
    spans = Spans(CPU, (1, 2, 0), tmp_path / "trace.json")
    for scale in (1000, 1, 3, 1000):
        play(spans, scale)
        play.now += 500  # validation between steps is part of none
        spans.start("[Strategy]DDPStrategy.batch_to_device")
        spans.stop("[Strategy]DDPStrategy.batch_to_device")
    profile = spans.found()
    assert profile is not None
    assert profile.steps == 2
    assert profile.milliseconds == pytest.approx({part: 2 * spent for part, spent in CHARGED.items()})


def test_a_step_that_breaks_off_does_not_count(play: Played, tmp_path: Path) -> None:
    spans = Spans(CPU, (0, 2, 0), tmp_path / "trace.json")
    spans.start("[_TrainingEpochLoop].train_dataloader_next")
    assert spans.found() is None
    play(spans)
    profile = spans.found()
    assert profile is not None
    assert (profile.steps, profile.milliseconds) == (1, pytest.approx(CHARGED))


def test_the_trace_has_the_steps_and_their_spans(play: Played, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    spans = Spans(CPU, (0, 1, 2), file)
    for _ in range(4):
        play(spans)
        torch.ones(2).exp()
    profile = spans.found()
    assert profile is not None
    assert (profile.steps, profile.traced) == (1, 2)
    names = [event["name"] for event in json.loads(file.read_text())["traceEvents"]]
    assert names.count("student") == 2
    assert names.count("optimizer_step") == 2
    assert names.count("aten::exp") == 1  # between the two
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]


def test_a_trace_that_is_interrupted_leaves_the_tracer_free(tmp_path: Path) -> None:
    for _ in range(2):
        profiling = Profiling(tmp_path)
        profiling._spans = Spans(CPU, (0, 0, 5), tmp_path / "trace.json")
        with profiling._spans.profile("[_TrainingEpochLoop].train_dataloader_next"):
            profiling.on_exception(None, None, KeyboardInterrupt())  # type: ignore[arg-type]
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_tells_the_time_of_its_own_work(tmp_path: Path) -> None:
    device = torch.device("cuda")
    spans = Spans(device, (1, 1, 0), tmp_path / "trace.json")
    matrix = torch.randn(2048, 2048, device=device)
    for _ in range(2):
        for _, action in STEP:
            (spans.start if action[0] == "+" else spans.stop)(action[1:])
            if action == "+student":
                for _ in range(50):
                    matrix @ matrix
    profile = spans.found()
    assert profile is not None
    assert max(profile.shares, key=profile.shares.__getitem__) == "student"


# ------------------------------------------------------------------------------------------------------ which steps


@settings(deadline=None)
@given(steps=st.integers(1, 1000), per_epoch=st.integers(1, 300))
def test_the_plan_fits_the_run(steps: int, per_epoch: int) -> None:
    warmup, measured, traced = plan(steps, min(steps, per_epoch))
    assert 0 <= warmup <= WARMUP
    assert 1 <= measured <= MEASURED
    assert 0 <= traced <= TRACED
    assert warmup + measured + traced <= steps
    if traced:  # within an epoch
        assert (warmup + measured) // per_epoch == (warmup + measured + traced - 1) // per_epoch


@pytest.mark.parametrize(
    ("steps", "per_epoch", "planned"),
    [
        (300, 5, (5, 100, 5)), (10_000, 5000, (5, 100, 5)), (110, 107, (5, 97, 5)), (10, 5, (3, 4, 3)),
        (2, 2, (0, 2, 0)), (300, 1, (5, 100, 1)),
    ],
)  # fmt: skip
def test_plans(steps: int, per_epoch: int, planned: Any) -> None:
    assert plan(steps, per_epoch) == planned


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    assert read_profile(tmp_path) is None
    (tmp_path / "profile.json").write_text('{"steps": 3, "traced": 0, "milliseconds": {"data": 1.0, "rest": 3.0}}')
    profile = read_profile(tmp_path)
    assert profile == Profile(3, 0, {"data": 1.0, "rest": 3.0})
    assert profile.shares == {"data": 0.25, "rest": 0.75}
