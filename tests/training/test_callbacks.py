"""Progress and throughput, driven by hand: no test waits for a clock."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from distill.tasks import Classification
from distill.training import clock
from distill.training.callbacks import StageProgress, Throughput
from distill.types import Batch


class Clock:
    """Says what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(clock.time, "perf_counter", lambda: self.now)


def run(throughput: Throughput, hands: Clock, epochs: list[list[float]], images: int = 8, processes: int = 1) -> Any:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(world_size=processes, strategy=strategy)
    logged: dict[str, float] = {}
    module: Any = SimpleNamespace(log=lambda name, value, sync_dist: logged.update({name: value}))
    for epoch in epochs:
        throughput.on_train_epoch_start(trainer, module)
        for step, seconds in enumerate(epoch):
            hands.now += seconds
            throughput.on_train_batch_end(trainer, module, None, Batch(torch.zeros(images, 1), None), step)
        throughput.on_train_epoch_end(trainer, module)
        hands.now += 1000  # validation
    return logged


def test_the_median_over_steps_after_the_first_few(monkeypatch: pytest.MonkeyPatch) -> None:
    throughput, hands = Throughput(), Clock(monkeypatch)
    # The first step has none before it; five more are warm-up; then 2, 2, 2 and one straggler.
    logged = run(throughput, hands, [[7, 50, 50, 50, 50, 50, 2, 2, 2, 90]])
    assert throughput.images_per_second == pytest.approx(4.0)
    assert logged == {"train/images_per_second": throughput.images_per_second}


def test_validation_and_the_first_step_of_an_epoch_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    throughput, hands = Throughput(), Clock(monkeypatch)
    run(throughput, hands, [[1, 4, 4, 4]] * 5)
    assert throughput.seconds == [4.0] * 15
    assert throughput.images_per_second == pytest.approx(2.0)


def test_short_runs_use_what_they_have_and_empty_ones_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    throughput, hands = Throughput(), Clock(monkeypatch)
    assert run(throughput, hands, [[1]]) == {}
    assert throughput.images_per_second is None
    run(throughput, hands, [[1, 4]])
    assert throughput.images_per_second == pytest.approx(2.0)


def test_it_counts_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    throughput, hands = Throughput(), Clock(monkeypatch)
    run(throughput, hands, [[1, 4, 4]], processes=2)
    assert throughput.images_per_second == pytest.approx(4.0)


def follow(progress: StageProgress, epochs: int, *, first: bool = True, start: int = 0) -> None:
    metrics = {"val/accuracy": torch.tensor(0.912), "train/images_per_second": torch.tensor(12345.0)}
    trainer: Any = SimpleNamespace(
        max_epochs=epochs, current_epoch=start, is_global_zero=first, callback_metrics=metrics, num_training_batches=2
    )
    module: Any = None
    progress.on_train_start(trainer, module)
    for epoch in range(start, epochs):
        trainer.current_epoch = epoch
        progress.on_train_batch_end(trainer, module, None, None, 0)
        progress.on_train_epoch_end(trainer, module)
    progress.on_train_end(trainer, module)


def test_plain_lines_every_tenth_of_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    follow(StageProgress("student", Classification.metric, bars=False), 25)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == [f"{n}/25" for n in (3, 6, 9, 12, 15, 18, 21, 24, 25)]
    assert lines[0] == "student   epoch   3/25  accuracy 91.2%  12,345 images/s"


def test_only_the_first_process_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    follow(StageProgress("student", Classification.metric, bars=False), 3, first=False)
    follow(StageProgress("student", Classification.metric, bars=True), 3, first=False)
    assert capsys.readouterr().out == ""


def test_a_bar_names_its_stage_and_ends_full(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    progress = StageProgress("baseline", Classification.metric, bars=True)
    follow(progress, 4, start=2)
    out = capsys.readouterr().out
    assert "baseline" in out
    assert "4/4" in out
    assert "accuracy 91.2%" in out
    assert progress._progress is None
