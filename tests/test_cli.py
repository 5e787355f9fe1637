"""The commands' names, and what they answer without any work."""

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from distill import cli
from distill.versions import installed

COMMANDS = (cli.train, cli.evaluate, cli.predict, cli.export, cli.generate, cli.compare, cli.cache_teacher)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_a_command_tells_the_version(
    command: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["distill-command", "--version"])
    command()
    assert capsys.readouterr().out == f"distill {installed('distill')}\n"


def test_each_command_is_a_console_script() -> None:
    scripts = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["scripts"]
    names = {f"distill-{command.__name__.replace('_', '-')}": command.__name__ for command in COMMANDS}
    assert scripts == {name: f"distill.cli:{function}" for name, function in names.items()}


def test_python_m_distill_is_train(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "distill", "trainer.max_epochs=3", "--cfg", "job"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=True)
    assert "  max_epochs: 3\n" in done.stdout
    assert "\nbaseline: true\n" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert installed("no-such-package-of-this-name") == "not installed"


def test_commands_start_without_torch() -> None:
    told = "import sys, distill.cli; print([name for name in ('torch', 'pytorch_lightning') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout == "[]\n"
