"""The commands with `teaching=cached`: filled by two processes, by runs side by side, by one that is killed."""

import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import ROOT, ForkServer
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file

from distill.errors import SettingError
from distill.experiment.pipeline import run
from distill.models.cnn import cnn
from distill.models.weights_file import save_weights
from distill.teachers.store import stores

# A precision of its own: what `auto` finds faster in a long run may be another than in a short one, with other answers.
SHORT = ["trainer.max_epochs=3", "trainer.precision=32-true", "baseline=false", "preflight=false", "logger=none",
         "data.student_fraction=0.1"]  # fmt: skip
AUGMENTED = ["data.augment.crop_padding=1", "data.augment.mixup=0.2"]

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the libraries that a whole run uses


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_weights(cnn(num_classes=10, in_channels=1, width=24), file)
    return file


def overrides(teacher: Path, directory: Path, *more: str) -> list[str]:
    return [*SHORT, f"teacher.checkpoint={teacher}", f"hydra.run.dir={directory}", *more]


def student(settings: list[str], directory: Path) -> dict[str, torch.Tensor]:
    """The weights after a run in this process."""
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        run(compose("train", settings), directory)
    return load_file(directory / "student.safetensors")


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_filled_ahead_by_two_processes_is_as_live(teacher: Path, command: Any, tmp_path: Path) -> None:
    cache = f"teaching.dir={tmp_path / 'cache'}"
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    filling = overrides(teacher, tmp_path / "fill", cache, *AUGMENTED, *two)
    told = command("scripts/cache_teacher.py", *filling, spawns=2).stdout
    count = int(re.search(r"for (\d+) samples x 3 epochs, all logits of 10 classes", told)[1])
    assert told.count("answers   100%") == 1
    (store,) = stores(tmp_path / "cache")
    assert [int(table.written().sum()) for table in store.tables()] == [count, count, count, 500]
    live = student(overrides(teacher, tmp_path / "live", *AUGMENTED), tmp_path / "live")
    cached = ["teaching=cached", cache]
    assert same(student(overrides(teacher, tmp_path / "cached", *cached, *AUGMENTED), tmp_path / "cached"), live)
    assert len(stores(tmp_path / "cache")) == 1


def test_runs_side_by_side_of_which_one_is_killed_share_a_cache(
    teacher: Path, forks: ForkServer, tmp_path: Path
) -> None:
    cached = ["teaching=cached", f"teaching.dir={tmp_path / 'cache'}"]
    doomed, other = (forks.start("train.py", *overrides(teacher, tmp_path / name, *cached, *settings))
                     for name, settings in (("doomed", ["trainer.max_epochs=10000"]),
                                            ("other", ["method.kd.temperature=2", "seed=1"])))  # fmt: skip
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if any(table.written().any() for store in stores(tmp_path / "cache") for table in store.tables()):
            break
        time.sleep(0.05)
    doomed.send_signal(signal.SIGKILL)
    assert other.wait(timeout=300) == 0, other.communicate()
    assert doomed.wait() == -signal.SIGKILL
    settings = overrides(teacher, tmp_path / "cached", *cached, "teaching.validate=500")
    live = student(overrides(teacher, tmp_path / "live"), tmp_path / "live")
    assert same(student(settings, tmp_path / "cached"), live)
    (store,) = stores(tmp_path / "cache")
    assert not any(len(table.damaged()) for table in store.tables())


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("false", "teaching.features=false: AT needs layers of the teacher"),
        ("pooled", "teaching.features=pooled: AT takes layers of the teacher"),
        ("means", "teaching.features='means': must be one of true, false, pooled"),
    ],
)
def test_what_is_not_kept_ends_a_run_before_it_starts(
    teacher: Path, tmp_path: Path, features: str, message: str
) -> None:
    settings = ["teaching=cached", f"teaching.dir={tmp_path / 'cache'}", "method=[at]", f"teaching.features={features}"]
    with pytest.raises(SettingError, match=message):
        student(overrides(teacher, tmp_path / "run", *settings), tmp_path / "run")
    assert not (tmp_path / "cache").exists()


def test_averages_of_maps_are_kept_and_taken_up(teacher: Path, tmp_path: Path) -> None:
    cached = ["method=sp", "teaching=cached", f"teaching.dir={tmp_path / 'cache'}", "teaching.features=pooled"]
    weights = [student(overrides(teacher, tmp_path / run, *cached), tmp_path / run) for run in ("fills", "reads")]
    assert same(*weights)
    (store,) = stores(tmp_path / "cache")
    assert [(field.name, field.shape) for field in store.manifest.fields["train"]] == [
        ("logits", (10,)),
        ("feature.layer3", (96,)),
    ]


def test_live_teaching_cannot_be_filled(teacher: Path, command: Any, tmp_path: Path) -> None:
    done = command("scripts/cache_teacher.py", *overrides(teacher, tmp_path / "run", "teaching=live"), status=2)
    assert "keeps no answers; use teaching=cached" in done.stderr
