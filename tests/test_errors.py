"""Each mistake gives one line that says what to change."""

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from distill import cli
from distill.cli import CONFIGS, _needs_no_directory, one_line_errors
from distill.config.run_config import parse
from distill.errors import SettingError, explain, suggestion


def test_a_close_name_is_suggested_else_all_are_listed() -> None:
    assert suggestion("temprature", ["weight", "temperature"]) == "; did you mean temperature?"
    assert suggestion("zzz", ["weight", "alpha"]) == "; known: alpha, weight"
    assert suggestion("zzz", []) == "; known: none"
    # What all names share is no likeness.
    known = ["method.kd.temperature", "method.kd.weight"]
    assert suggestion("method.kd.wieght", known) == "; did you mean method.kd.weight?"
    assert suggestion("method.kd.alpha", known) == "; known: method.kd.temperature, method.kd.weight"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("method.kd.temprature=2", "method.kd.temprature is not a setting; did you mean method.kd.temperature?"),
        ("sead=2", "sead is not a setting; did you mean seed?"),
        ("trainer.max_epoch=2", "trainer.max_epoch is not a setting; did you mean trainer.max_epochs?"),
        ("method=kdd", "method=kdd: there is no configs/method/kdd.yaml; did you mean kd?"),
        ("model@student=cnn5", "model=cnn5: there is no configs/model/cnn5.yaml; did you mean cnn4?"),
        (
            "logger=tensorbord",
            "logger=tensorbord: there is no configs/logger/tensorbord.yaml; did you mean tensorboard?",
        ),
        ("trainer=ddpp", "trainer=ddpp: there is no configs/trainer/ddpp.yaml; did you mean ddp?"),
        ("seed=[1", "seed=[1: cannot be read; as a text write 'seed=\"[1\"'"),
        ("seed", "seed: cannot be read; write seed=VALUE"),
        ("a/run", "a/run: cannot be read; settings are NAME=VALUE: write what it is, such as run=a/run"),
        (
            "data.root=a,b",
            "data.root=a,b: is several values; -m runs a job for each, 'data.root=[a,b]' gives a list, and "
            "'data.root=\"a,b\"' is one text",
        ),
        (
            "method=kd,fitnet",
            "method=kd,fitnet: is several values; -m runs a job for each, 'method=[kd,fitnet]' gives a list, and "
            "'method=\"kd,fitnet\"' is one text",
        ),
    ],
)
def test_hydras_errors_are_one_line(override: str, line: str) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        with pytest.raises((HydraException, OmegaConfBaseException)) as caught:
            compose("train", [override])
        assert explain(caught.value, CONFIGS) == line


@pytest.mark.parametrize("argument", ["optimizer=5", "model@student=5"])
def test_a_number_for_a_name_of_configs_is_one_line(
    argument: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["distill-train", argument])
    with initialize_config_dir(str(CONFIGS), version_base="1.3"), pytest.raises(SystemExit, match="2"):
        one_line_errors(lambda: compose("train", [argument]))
    assert capsys.readouterr().err.startswith(f"error: {argument}: must be one of ")


def test_a_config_of_ones_own_that_is_no_yaml_or_lacks_parts_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.yaml").write_text("seed: [1\nx: 2\n")
    (tmp_path / "short.yaml").write_text("seed: 1\n")
    (tmp_path / "whole.yaml").write_text("defaults: [train, _self_]\nseed: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        with pytest.raises(SystemExit, match="2"):
            one_line_errors(lambda: compose("broken"))
        assert f"error: {tmp_path / 'broken.yaml'}, line 2: is no YAML: expected" in capsys.readouterr().err
        with pytest.raises(SettingError, match=r"^data is not set: .* begin .* `defaults: \[train, _self_\]`$"):
            parse(compose("short"))
    shutil.copytree(CONFIGS, tmp_path / "all")
    shutil.copy(tmp_path / "whole.yaml", tmp_path / "all")
    with initialize_config_dir(str(tmp_path / "all"), version_base="1.3"):
        parse(compose("whole"))


def test_a_value_that_must_be_given() -> None:
    config = OmegaConf.create({"data": {"path": "???"}})
    with pytest.raises(MissingMandatoryValue) as caught:
        _ = config.data.path
    assert explain(caught.value, CONFIGS) == "data.path is not set: give data.path=VALUE"


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SystemExit):
        one_line_errors(lambda: (file / "x").mkdir())
    assert capsys.readouterr().err == f"error: {file}/x: Not a directory (HYDRA_FULL_ERROR=1 shows where)\n"
    full = OSError(errno.ENOSPC, "No space left on device")  # of a file that is open already
    assert explain(full, CONFIGS) == "No space left on device (HYDRA_FULL_ERROR=1 shows where)"


def test_a_setting_of_something_that_is_not_chosen_says_what_to_choose() -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        with pytest.raises((HydraException, OmegaConfBaseException)) as caught:
            compose("evaluate", ["data.path=images.npz"])
        assert explain(caught.value, CONFIGS).startswith("data.path: choose data=NAME first; known: arrays, chat")


def test_our_own_errors_are_said_as_they_are() -> None:
    assert explain(SettingError("seed=-1: must be zero or more"), CONFIGS) == "seed=-1: must be zero or more"


def test_a_mistake_ends_with_status_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise SettingError("seed=-1: must be zero or more")

    with pytest.raises(SystemExit) as caught:
        one_line_errors(fail)
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", "error: seed=-1: must be zero or more\n")


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    def fail() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        one_line_errors(fail)
    assert one_line_errors(lambda: 3) == 3


def test_what_is_asked_of_hydra_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("0", None):
        if given is None:
            monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        else:
            monkeypatch.setenv("HYDRA_FULL_ERROR", given)
        assert one_line_errors(lambda: os.environ["HYDRA_FULL_ERROR"]) == "1"
        assert os.environ.get("HYDRA_FULL_ERROR") == given


@pytest.mark.parametrize(
    ("arguments", "needs_none"),
    [
        (["seed=1"], False),
        (["show=layers"], True),
        (["seed=1", "resume=outputs/a=b"], True),
        (["resume=null", "show=null"], False),  # a new run, which must not be written to where one stands
    ],
)
def test_a_new_run_has_a_directory(arguments: list[str], needs_none: bool) -> None:
    assert _needs_no_directory(arguments) == needs_none


def test_a_path_that_the_command_gives_is_told_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", "/proc/x/deeper")
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=1", "hydra.run.dir=/proc/x", "logger="])
    assert explain(error, CONFIGS).startswith("hydra.run.dir=/proc/x: No such file or directory")


def test_a_mistyped_command_of_the_caches_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cache_teacher.py", "lst"])
    with pytest.raises(SystemExit) as end:
        cli.cache_teacher()
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: lst: is none of list, verify, prune; settings are NAME=VALUE\n"


def test_a_full_disk_is_told_with_the_way_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def train() -> None:
        Path("/dev/full").write_text("curves")

    (tmp_path / "config.yaml").touch()
    with pytest.raises(SystemExit) as end:
        one_line_errors(train, tmp_path)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said == f"error: No space left on device (HYDRA_FULL_ERROR=1 shows where); go on with resume={tmp_path}\n"
