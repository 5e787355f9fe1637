"""Which jobs of a sweep share a baseline and a teacher, and that one trains while the others wait."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from distill.cli import CONFIGS
from distill.config.effect import alone, of_the_teacher
from distill.config.flat import flat
from distill.experiment.directory import save_config
from distill.experiment.shared import shared, take_over


def settings(*overrides: str) -> dict[str, object]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return alone(flat(compose("train", list(overrides))))


@pytest.mark.parametrize("override", ["method=at", "method.kd.weight=0.5", "teaching=ema", "model@teacher=resnet56",
                                      "chain=[resnet20]", "teacher.max_epochs=3", "logger=none", "data.workers=2",
                                      "trainer.progress=true", "profile=true"])  # fmt: skip
def test_what_a_student_alone_knows_nothing_of(override: str) -> None:
    assert settings(override) == settings()


@pytest.mark.parametrize("override", ["seed=1", "optimizer.lr=0.5", "scheduler=constant", "model@student=mlp",
                                      "data.batch_size=8", "trainer.max_epochs=3", "trainer.precision=64-true",
                                      "teaching.epochs=2", "student.checkpoint=x", "+callbacks.e._target_=x",
                                      "trainer.gradient_clip_val=1", "data.augment.flip=true"])  # fmt: skip
def test_what_it_depends_on(override: str) -> None:
    assert settings(override) != settings()


def test_only_a_whole_baseline_is_taken_over(tmp_path: Path) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        ours, theirs = compose("train", ["method=at"]), compose("train", ["method=kd"])
        other_seed = compose("train", ["seed=1"])
    job, other = tmp_path / "1", tmp_path / "0"
    assert take_over("baseline", ours, job, tmp_path) is None
    save_config(theirs, other)
    (other / "baseline.safetensors").write_bytes(b"weights")
    assert take_over("baseline", ours, job, tmp_path) is None  # it is still at work
    (other / "checkpoints/baseline").mkdir(parents=True)
    (other / "checkpoints/baseline/record.json").write_text("{}")
    assert take_over("baseline", other_seed, job, tmp_path) is None
    assert take_over("baseline", ours, job, tmp_path) == other
    assert (job / "baseline.safetensors").read_bytes() == b"weights"
    assert (job / "checkpoints/baseline/record.json").read_text() == "{}"
    assert take_over("baseline", ours, job, tmp_path) is None  # it has one


@pytest.mark.parametrize(("override", "same"), [("method=at", True), ("data.student_fraction=0.5", True),
                                                ("model@student=mlp", True), ("teacher.max_epochs=3", False),
                                                ("optimizer.lr=0.5", False), ("seed=1", False)])  # fmt: skip
def test_what_a_teacher_depends_on(override: str, same: bool) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        one, other = (of_the_teacher(flat(compose("train", overrides))) for overrides in ([], [override]))
    assert (one == other) is same


def test_of_jobs_side_by_side_one_trains_and_the_others_wait(tmp_path: Path) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        configs = [compose("train", [f"method.kd.temperature={t}"]) for t in (1, 2, 3)]
    trained: list[int] = []

    def job(number: int) -> None:
        directory = tmp_path / str(number)
        save_config(configs[number], directory)
        with shared("teacher", configs[number], directory, tmp_path):
            record = directory / "checkpoints/teacher/record.json"
            if not record.is_file():
                trained.append(number)
                time.sleep(0.2)  # long enough for the others to come
                (directory / "teacher.safetensors").write_bytes(b"weights")
                record.parent.mkdir(parents=True)
                record.write_text("{}")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(job, range(3)))
    assert len(trained) == 1
    assert all((tmp_path / str(number) / "teacher.safetensors").read_bytes() == b"weights" for number in range(3))
