"""The script that looks for what grows: it measures a real run, and sees growth."""

import dataclasses
from pathlib import Path

import pytest
from soak import SETTLED, Sample, growth, read, soak

EPOCHS = 8 * SETTLED
FLAT = [Sample(1, epoch, 0.01, 10**9, 8, 4, 1000 * epoch) for epoch in range(1, EPOCHS + 1)]


def test_what_stays_flat_has_not_grown() -> None:
    assert growth(FLAT) == []


@pytest.mark.parametrize(
    ("name", "slope"),
    [("memory", 10**6), ("files", 1), ("threads", 1), ("seconds", 0.001)],
)
def test_what_grows_with_the_epochs_is_told(name: str, slope: float) -> None:
    growing = [dataclasses.replace(s, **{name: getattr(s, name) + slope * s.epoch}) for s in FLAT]
    (line,) = growth(growing)
    assert line.startswith(name)


def test_files_that_grow_faster_and_faster_are_told() -> None:
    (line,) = growth([dataclasses.replace(sample, written=sample.epoch**2) for sample in FLAT])
    assert line.startswith("bytes written in an epoch")


def test_a_run_is_measured_after_each_epoch_of_each_stage(tmp_path: Path) -> None:
    assert soak(tmp_path, ["trainer.max_epochs=2", "logger=none"], minutes=60)
    (samples,) = read(tmp_path / "soak.jsonl").values()
    assert [sample.epoch for sample in samples] == [1, 2, 3]  # the teacher's one and the student's two
    assert all(sample.memory > 10**8 and sample.files > 2 and sample.threads >= 1 for sample in samples)
    assert 0 < samples[0].written < samples[-1].written
