"""Which setting is advised, for made-up shares of a step and for real runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from distill.cli import CONFIGS
from distill.config.run_config import parse
from distill.experiment.advice import Circumstances, advice, advise
from distill.experiment.pipeline import prepare
from distill.training.profiling import PARTS, Profile

PLAIN = Circumstances(
    cached=False, cacheable=True, augmentations=(), repeats=False, streams=False, workers=1, cores=8, keepable=False,
    logs=1, precision="32-true", native="bf16-mixed",
)  # fmt: skip
SETTINGS = ("teaching=cached", "data.", "trainer.log_every_n_steps", "trainer.precision")


def shares(**given: float) -> dict[str, float]:
    """What is not given is the optimizer's, which no setting helps."""
    return {**dict.fromkeys(PARTS, 0.0), **given, "optimizer": 1 - sum(given.values())}


def said(spent: dict[str, float], **changes: Any) -> str:
    return " ".join(advice(spent, replace(PLAIN, **changes)))


# ------------------------------------------------------------------------------------------------------------ the rules


def test_a_slow_teacher_is_to_be_asked_less_often() -> None:
    spent = shares(teacher=0.62)
    assert said(spent) == (
        "The teacher takes 62% of a step: teaching=cached asks it once for each image instead of in every epoch."
    )
    augmented = said(spent, augmentations=("flip",))
    assert "spares later runs" in augmented
    assert "teaching.epochs=E" in augmented
    assert "only until the images repeat" in said(spent, augmentations=("flip",), repeats=True)
    assert "teaching=" not in said(spent, cacheable=False)
    assert "teaching=" not in said(shares(teacher=0.39))


def test_filling_a_cache_is_paid_once() -> None:
    found = said(shares(teacher=0.36), cached=True, cacheable=False)
    assert found == "The teacher takes 36% of a step while its answers are first kept: later runs are spared that."
    assert "kept" not in said(shares(teacher=0.03), cached=True, cacheable=False)


def test_waiting_for_images() -> None:
    spent = shares(data=0.3)
    streams = said(spent, streams=True, keepable=True)
    assert "for 30% of a step: data.workers=8 decodes" in streams
    assert ", or data.in_memory=true" in streams
    assert "data.workers" not in said(spent, streams=True, workers=8, keepable=True)
    assert "data.in_memory" not in said(spent, streams=True)
    heavy = said(spent, augmentations=("trivial_augment", "cutout"))
    assert "less of data.augment.trivial_augment, data.augment.cutout" in heavy
    assert said(spent, streams=True, workers=8, augmentations=("flip",)).count("data.") == 1
    assert "data." not in said(spent)  # in memory and as they are: there is nothing to change
    assert "data." not in said(shares(data=0.19), streams=True)


def test_logging_each_step() -> None:
    spent = shares(logging=0.06)
    assert said(spent) == "Logging takes 6% of a step: trainer.log_every_n_steps=10 logs a tenth as often."
    assert "log_every" not in said(spent, logs=0)
    assert "log_every" not in said(shares(logging=0.04))


def test_float32_where_the_device_is_faster_at_less() -> None:
    spent = shares(student=0.3, method=0.1, backward=0.2)
    assert said(spent).startswith("The student's own arithmetic takes 60% of a step in float32: trainer.precision=bf16")
    assert "trainer.precision" not in said(spent, native="32-true")
    assert "trainer.precision" not in said(spent, precision="bf16-mixed")
    assert "trainer.precision=16-mixed" in said(spent, precision="32", native="16-mixed")
    assert "trainer.precision" not in said(shares(student=0.2, backward=0.2))


def test_nothing_to_gain() -> None:
    own = "The student's own arithmetic is what takes the time ({}% of a step); there is nothing to gain by a setting."
    assert said(shares(backward=0.6), native="32-true") == own.format(100)
    assert said(shares(teacher=0.3, data=0.1)) == own.format(60)
    assert said(shares(teacher=0.9), cacheable=False).startswith("The teacher is what takes the time (90% of a step)")


def test_the_largest_come_first_and_there_are_two_at_most() -> None:
    found = advice(shares(data=0.45, teacher=0.41, logging=0.1), replace(PLAIN, streams=True))
    assert [line.split(":")[1].split()[0].split("=")[0] for line in found] == ["data.workers", "teaching"]


@settings(max_examples=100, deadline=None)
@given(weights=st.lists(st.floats(0.001, 1), min_size=len(PARTS), max_size=len(PARTS)))
def test_there_is_always_something_to_say_and_nothing_that_is_set(weights: list[float]) -> None:
    spent = {part: weight / sum(weights) for part, weight in zip(PARTS, weights, strict=True)}
    assert 1 <= len(advice(spent, PLAIN)) <= 2
    best = replace(PLAIN, cacheable=False, logs=0, native="32-true")
    (line,) = advice(spent, best)
    assert not any(setting in line for setting in SETTINGS)


# ------------------------------------------------------------------------------------------------------------ real runs


def advised(directory: Path, spent: dict[str, float], *overrides: str) -> str:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["trainer=cpu", "trainer.precision=32-true", *overrides])
    run = prepare(parse(config), directory)
    return " ".join(advise(run, run.network("teacher"), Profile(100, 5, spent)))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "teaching=cached asks it once for each image"),
        (["data.augment.flip=true"], "teaching.epochs=E"),
        (["data.augment.flip=true", "teaching.epochs=3"], "until the images repeat"),
        (["teaching=cached"], "later runs are spared that"),
        (["teaching=ema"], "The teacher is what takes the time"),
        (["data=standard_library", "on_policy.fraction=0.5"], "The teacher is what takes the time"),
        (["method=[kd,fitnet]"], "The teacher is what takes the time"),  # a cache has logits alone
    ],
)
def test_a_cache_is_advised_where_it_would_do(overrides: list[str], expected: str, tmp_path: Path) -> None:
    assert expected in advised(tmp_path, shares(teacher=0.9), *overrides)


def test_workers_are_advised_for_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.experiment.advice.cores", lambda: 6)
    for number in range(4):
        for split in ("train", "val"):
            file = tmp_path / "photos" / split / "ab"[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(file)
    files = ["data=image_folder", f"data.root={tmp_path}/photos", "data.in_memory=false"]
    spent = shares(data=0.9)
    assert "data.workers=6 decodes with every core, or data.in_memory=true" in advised(
        tmp_path, spent, *files, "data.workers=2"
    )
    assert ": data.in_memory=true" in advised(tmp_path, spent, *files)  # as many as there are cores
    assert "Making the images is what takes" in advised(tmp_path, spent, *files[:2], "data.in_memory=true")


def test_logging_is_not_advised_upon_without_a_logger(tmp_path: Path) -> None:
    spent = shares(logging=0.3)
    assert "trainer.log_every_n_steps=500" in advised(tmp_path, spent)
    assert "trainer.log_every_n_steps" not in advised(tmp_path, spent, "logger=none")


@pytest.mark.parametrize("native", ["bf16-mixed", "32-true"])
def test_the_precision_that_is_advised_is_the_devices_own(
    native: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill.experiment.advice.choose_precision", lambda device: (native, device.type))
    spent = shares(backward=0.9)
    assert ("trainer.precision=bf16-mixed" in advised(tmp_path, spent)) == (native == "bf16-mixed")
    assert "trainer.precision" not in advised(tmp_path, spent, "trainer.precision=bf16-mixed")
