"""What a run that goes on takes from the command."""

import os
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from distill.cli import CONFIGS
from distill.config.effect import MAY_CHANGE
from distill.errors import SettingError
from distill.experiment.directory import check_processes, save_config
from distill.experiment.resume import is_of, newest_unfinished, resumed

ROOT = Path(__file__).parents[2]
RUN = ("trainer=cpu", "trainer.max_epochs=3", "trainer.gradient_clip_val=1", "trainer.deterministic=true",
       "trainer.accumulate_grad_batches=2", "method.kd.temperature=2", "preflight=only")  # fmt: skip


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save_config(composed(*RUN), tmp_path)
    return tmp_path


def goes_on(run: Path, *overrides: str) -> tuple[DictConfig, list[str]]:
    said = [f"resume={run}", *overrides]
    return resumed(composed(*said), run, said)


def test_a_plain_resume_is_the_run(run: Path) -> None:
    config, left_out = goes_on(run)
    wanted = composed(*RUN, "preflight=true")
    assert OmegaConf.to_container(config) == OmegaConf.to_container(wanted)
    assert left_out == []


@pytest.mark.parametrize("said", [RUN, ("seed=0", "method=[kd]", "method.kd.temperature=2.0"), ("student.name=cnn4",)])
def test_what_the_run_says_too_is_not_told_of(run: Path, said: tuple[str, ...]) -> None:
    assert goes_on(run, *said)[1] == []


@pytest.mark.parametrize(
    "override",
    ["seed=5", "method.kd.temperature=4", "method=[at]", "trainer.max_epochs=9", "model@student=cnn24",
     "data=cifar10", "trainer.gradient_clip_val=2", "experiment=quick", "data.augment.flip=true", "~scheduler.warmup",
     "optimizer={lr: 3}"],
)  # fmt: skip
def test_what_would_compute_something_else_is_left_out_and_told(run: Path, override: str) -> None:
    config, left_out = goes_on(run, override)
    assert left_out == [override]
    assert config == goes_on(run)[0]


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("trainer.accelerator=cuda", "trainer.accelerator", "cuda"),
        ("trainer=gpu", "trainer.accelerator", "cuda"),
        ("trainer.progress=true", "trainer.progress", True),
        ("logger=none", "logger", {}),
        ("data.workers=3", "data.workers", 3),
        ("profile=true", "profile", True),
        ("+data.root=elsewhere", "data.root", "elsewhere"),
        ("preflight=false", "preflight", False),
    ],
)
def test_where_and_how_it_is_watched_may_change(run: Path, override: str, place: str, value: Any) -> None:
    (run / "elsewhere").mkdir()
    override = override.replace("elsewhere", f"{run}/elsewhere")
    config, left_out = goes_on(run, override)
    assert left_out == []
    expected = f"{run}/elsewhere" if value == "elsewhere" else value
    assert OmegaConf.select(config, place) == expected
    before = goes_on(run)[0]
    OmegaConf.update(before, place, expected, force_add=True, merge=False)
    assert config == before  # and nothing else


def test_of_an_option_what_may_change_is_taken_up_and_the_rest_is_told(run: Path) -> None:
    config, left_out = goes_on(run, "trainer=ddp")
    assert left_out == ["trainer=ddp"]
    assert (config.trainer.devices, config.trainer.strategy) == ("auto", goes_on(run)[0].trainer.strategy)


def test_as_many_other_devices_may_be_named_and_another_number_is_refused(run: Path) -> None:
    save_config(composed("trainer=ddp", "trainer.devices=[0,1]"), run, processes=2)
    config, left_out = goes_on(run, "trainer.devices=[2,3]")
    assert (config.trainer.devices, left_out) == ([2, 3], [])
    check_processes(run, 2, [2, 3])
    with pytest.raises(SettingError, match=r"trainer\.devices=1: .* 1 processes, and the run has trained in 2"):
        check_processes(run, 1, 1)


def test_what_the_run_has_settled_is_not_told_of(run: Path) -> None:
    save_config(composed("trainer.precision=bf16-mixed"), run)
    assert goes_on(run, "trainer.precision=auto")[1] == []


def with_a_checkpoint(directory: Path, at: float, *settings: str) -> Path:
    """A run that was at work at a time and has left a checkpoint."""
    (directory / "checkpoints/student").mkdir(parents=True)
    (directory / "checkpoints/student/last.ckpt").touch()
    save_config(composed(*settings), directory)
    os.utime(directory / "config.yaml", (at, at))
    return directory


def test_auto_is_the_newest_unfinished_run_of_the_same_configuration(tmp_path: Path) -> None:
    older = with_a_checkpoint(tmp_path / "older", 100, *RUN)
    same = with_a_checkpoint(tmp_path / "same", 200, *RUN, "trainer.precision=bf16-mixed", "data.workers=3")
    with_a_checkpoint(tmp_path / "other", 300, *RUN, "seed=5")
    finished = with_a_checkpoint(tmp_path / "finished", 400, *RUN)
    (finished / "summary.json").touch()
    save_config(composed(*RUN), tmp_path / "nothing_trained")
    broken = with_a_checkpoint(tmp_path / "broken", 500, *RUN)
    (broken / "config.yaml").write_text("seed: [")
    (tmp_path / "no_run").mkdir()
    given = composed(*RUN, "resume=auto", "trainer.progress=true", "preflight=false")
    assert newest_unfinished(given, tmp_path.iterdir()) == same
    assert newest_unfinished(composed(*RUN, "trainer.precision=32-true"), tmp_path.iterdir()) is None
    (same / "summary.json").touch()
    assert newest_unfinished(given, tmp_path.iterdir()) == older


def test_auto_takes_the_same_file_by_another_name_for_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = with_a_checkpoint(tmp_path / "run", 1, "teacher.checkpoint=here.pt")
    assert is_of(composed(f"teacher.checkpoint={tmp_path}/here.pt"), run)
    assert not is_of(composed("teacher.checkpoint=there.pt"), run)


def test_the_page_lists_what_may_change_with_its_reason() -> None:
    page = (ROOT / "docs/resume.md").read_text()
    told = [f"| `{place}` | {why} |" for place, why in MAY_CHANGE.items()]
    assert [line for line in page.splitlines() if line.startswith("| `")] == told


def test_every_setting_that_may_change_is_one_and_says_why() -> None:
    config = composed("teaching=cached", "data=image_folder", "data.root=x")
    for place, why in MAY_CHANGE.items():
        assert OmegaConf.select(config, place, default="none") != "none", place
        assert why


def test_a_file_that_is_gone_is_told_with_the_way_to_say_where_it_is(run: Path) -> None:
    save_config(composed("teacher.checkpoint=gone.pt"), run)
    with pytest.raises(SettingError, match=r"teacher\.checkpoint=gone\.pt: is not there any more") as caught:
        goes_on(run)
    (run / "found=it.pt").touch()
    advised = str(caught.value).split(": ")[-1].split()
    assert advised == [f"resume={run}", "teacher.checkpoint=PATH"]
    override = advised[1].replace("PATH", f'"{run}/found=it.pt"')
    config, left_out = goes_on(run, override)
    assert (config.teacher.checkpoint, left_out) == (f"{run}/found=it.pt", [])
