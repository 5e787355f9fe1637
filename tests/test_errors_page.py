"""What wrong inputs are answered with: one line that names the setting, and exit status 2."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from list_errors import cases, make_files, run

from distill.cli import _check_options
from distill.errors import SettingError

PAGE = Path(__file__).parents[1] / "docs/errors.md"
CASES = list(cases())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("files")
    offline = pytest.MonkeyPatch()
    offline.setenv("HF_HUB_OFFLINE", "1")
    make_files(directory)
    yield directory
    offline.undo()


def named_in(line: str, arguments: list[str]) -> bool:
    """Whether a line tells what is wrong: a setting, by its path or the last part of it, or what was given for it."""
    settings = [argument for argument in arguments if not argument.startswith("data=")] or arguments
    given = [argument.lstrip("+").rpartition("@")[2].partition("=")[::2] for argument in settings]
    return any(part in line for name, value in given for part in (name.split(".")[-1], value) if part)


@pytest.mark.parametrize(("command", "arguments"), CASES, ids=[" ".join([c, *a]) for c, a in CASES])
def test_a_wrong_input_is_one_line_that_names_the_setting(command: str, arguments: list[str], files: Path) -> None:
    before = Path.cwd()
    said = run(command, arguments, files)
    assert Path.cwd() == before
    assert said.status == 2, said
    (line,) = said.lines
    assert line.startswith("error: ")
    assert named_in(line, arguments) or arguments == ["input=a.png"], line  # which lacks the run


def test_the_page_lists_every_input() -> None:
    listed = [line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| ") and "`" in line]
    assert listed == [" ".join(arguments) for _, arguments in CASES]
    assert len(listed) >= 80


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--unknown-option", "--unknown-option: is no option; settings are NAME=VALUE; --help lists them"),
        ("--seed=3", "--seed=3: is no option; settings have no dashes: seed=3"),
        ("-x", "-x: is no option; settings are NAME=VALUE; --help lists them"),
    ],
)
def test_an_option_that_there_is_not_is_one_line(option: str, line: str) -> None:
    _check_options(["-m", "--cfg", "job", "--config-dir", os.sep, "seed=1"])
    with pytest.raises(SettingError) as caught:
        _check_options(["seed=1", option])
    assert str(caught.value) == line
