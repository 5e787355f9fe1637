"""All behind the first `=` is the value, as far as Hydra's grammar leaves room for it."""

import os
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from distill.cli import CONFIGS
from distill.config.overrides import readable, with_home


@pytest.mark.parametrize(
    "value",
    [
        "epoch=9-step=100.ckpt", "my photos", "photos (1)", "photos #2", "[old] photos", "a[1]", "a{b}", "a'b",
        'say "x"', "C:\\data\\new", "C:\\data=1\\", "https://host/file.pth?download=1&x=y", "Fußgänger", "50% & more!",
        "2024", "007", "1e3", "1_000", "true", "inf", "a;b", "x\\\"=", "what?.pt", "a@b:c+d", "~backup", "${not closed",
    ],
)  # fmt: skip
@pytest.mark.parametrize("setting", ["data.root", "teacher.checkpoint", "+data.arguments.path"])
def test_a_path_is_taken_letter_by_letter(setting: str, value: str) -> None:
    (argument,) = readable([f"{setting}={value}"])
    assert OverridesParser.create().parse_override(argument).value() == value


@pytest.mark.parametrize(
    "argument",
    [
        "seed=3", "optimizer.lr=1e-3", "method=[kd,fitnet]", "method=kd", "data.augment={flip: true, mixup: 0.2}",
        "data.root=null", "data.root=${hydra:runtime.cwd}/x", "data.root='already, quoted'", "~callbacks.checkpoint",
        "-m", "teacher.checkpoint=a\\,b.pt", "model@student=cnn4", "seed=[1", "seed", "+x={a: 1", "data.mean=[0.1,0.2]",
        "teaching.checkpoints=[a.pt,b.pt]", "data.root=", "data.root=./photos/train",
    ],
)  # fmt: skip
def test_what_hydra_reads_stays_as_it_is(argument: str) -> None:
    assert readable([argument]) == [argument]


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("seed=1,2", [1, 2]),
        ("teacher.checkpoint=epoch=9.ckpt,epoch=10.ckpt", ["epoch=9.ckpt", "epoch=10.ckpt"]),
        ("teacher.checkpoint=epoch=9.ckpt,last.ckpt,null", ["epoch=9.ckpt", "last.ckpt", None]),
        ("seed=range(1,3)", [1, 2]),
    ],
)
def test_sweeps_stay_sweeps(argument: str, values: list[object]) -> None:
    _, readable_argument = readable(["-m", argument])
    override = OverridesParser.create().parse_override(readable_argument)
    assert override.is_sweep_override()
    assert [getattr(value, "text", value) for value in override.sweep_iterator()] == values


def test_lists_of_paths_stay_lists() -> None:
    (argument,) = readable(["teaching.checkpoints=[a/epoch=1.ckpt,b/epoch=2.ckpt]"])
    assert OverridesParser.create().parse_override(argument).value() == ["a/epoch=1.ckpt", "b/epoch=2.ckpt"]


def test_a_name_with_a_comma_is_one_where_such_a_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert readable(["data.root=cats,dogs"]) == ["data.root=cats,dogs"]
    (tmp_path / "cats,dogs").mkdir()
    assert readable(["data.root=cats,dogs"]) == ['data.root="cats,dogs"']
    assert readable(["-m", "data.root=cats,dogs"]) == ["-m", "data.root=cats,dogs"]


def test_values_of_options_are_left_alone() -> None:
    assert readable(["--config-dir", "runs/a=b=c", "seed=1"]) == ["--config-dir", "runs/a=b=c", "seed=1"]


def test_home_is_found_in_every_text() -> None:
    home = os.environ["HOME"]
    assert readable(["hydra.run.dir=~/run=1"]) == [f'hydra.run.dir="{home}/run=1"']
    overrides = readable(["data=image_folder", "data.root=~/x", "teacher.checkpoint=~/a=b.pt", "resume=~/r",
                          "teaching=ensemble", "teaching.checkpoints=[~/a.pt,~/b.pt]"])  # fmt: skip
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = with_home(compose("train", overrides))
    assert (config.data.root, config.teacher.checkpoint, config.resume) == (f"{home}/x", f"{home}/a=b.pt", f"{home}/r")
    assert config.teaching.checkpoints == [f"{home}/a.pt", f"{home}/b.pt"]
    assert OmegaConf.is_struct(config)
