"""What a run that goes on takes from the command."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from distill.cli import CONFIGS
from distill.config.effect import MAY_CHANGE
from distill.errors import SettingError
from distill.experiment.directory import save_config
from distill.experiment.resume import resumed

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
    ["seed=5", "method.kd.temperature=4", "method=[at]", "trainer.max_epochs=9", "model@student=cnn24", "trainer=ddp",
     "data=cifar10", "trainer.gradient_clip_val=2", "experiment=quick", "data.augment.flip=true", "~scheduler.warmup",
     "trainer.devices=2", "optimizer={lr: 3}"],
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


def test_as_many_other_devices_may_be_named(run: Path) -> None:
    save_config(composed("trainer=ddp", "trainer.devices=[0,1]"), run)
    config, left_out = goes_on(run, "trainer.devices=[2,3]")
    assert (config.trainer.devices, left_out) == ([2, 3], [])
    assert goes_on(run, "trainer.devices=[2]")[1] == ["trainer.devices=[2]"]


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
