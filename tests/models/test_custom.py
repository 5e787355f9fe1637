import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from torch import nn

from distill.models.custom import custom

SOURCE = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes, in_channels=3, width=2):
        super().__init__(nn.Conv2d(in_channels, width, 1), nn.Flatten(), nn.LazyLinear(num_classes))
        self.width = width

    @classmethod
    def wide(cls, num_classes):
        return cls(num_classes, width=9)

def fixed(outputs=5, **ignored):
    assert not ignored
    return nn.Linear(4, outputs)

def not_a_network():
    return {"a": 1}

def broken():
    raise TypeError("inside the network")

CONSTANT = 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package, as the current directory, and importable, as the commands make it."""
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(dedent(SOURCE))
    (package / "needy.py").write_text("import a_package_that_is_not_installed")
    (package / "torn.py").write_text("import my_package.gone")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [m for m in sys.modules if m.split(".")[0] == "my_package"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_a_class_in_the_current_directory_with_its_arguments() -> None:
    network = custom(target="my_package.nets.Net", arguments={"width": 4}, num_classes=7, in_channels=1)
    assert network.width == 4
    assert network(torch.randn(2, 1, 3, 3)).shape == (2, 7)


def test_a_class_method() -> None:
    assert custom(target="my_package.nets.Net.wide", num_classes=7).width == 9


def test_only_what_the_signature_names_is_passed() -> None:
    assert custom(target="my_package.nets.fixed", num_classes=7)(torch.ones(1, 4)).shape == (1, 5)


def test_arguments_win() -> None:
    network = custom(target="my_package.nets.Net", arguments={"num_classes": 9}, num_classes=7)
    assert network(torch.randn(2, 3, 3, 3)).shape == (2, 9)


def test_anything_installed() -> None:
    network = custom(target="torch.nn.Linear", arguments={"in_features": 2, "out_features": 3}, num_classes=7)
    assert isinstance(network, nn.Linear)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("Net", "target='Net': must be a dotted path"),
        ("my package.Net", "must be a dotted path"),
        ("absent.nets.Net", "no module named 'absent' was found; run from the folder that holds it .*PYTHONPATH"),
        ("my_package.nest.Net", "my_package has no 'nest'"),
        ("my_package.nets.Ned", "my_package.nets has no 'Ned'; did you mean Net"),
        ("my_package.nets.Net.wider", "my_package.nets.Net has no 'wider'; did you mean wide"),
        ("my_package.needy.Net", "importing my_package.needy failed: it needs a_package_that_is_not_installed"),
        ("my_package.torn.Net", "importing my_package.torn failed: it needs my_package.gone"),
        ("my_package.nets.CONSTANT", "is of type builtins.int; must be a class or a function"),
        ("my_package.nets.not_a_network", "gave of type builtins.dict; must give a torch.nn.Module"),
    ],
)
def test_a_path_that_leads_nowhere_good(target: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        custom(target=target, num_classes=7)


def test_arguments_that_do_not_fit_are_shown_with_the_signature() -> None:
    with pytest.raises(ValueError, match=r"'depth': 3.*do not fit my_package\.nets\.Net\(num_classes, in_channels=3"):
        custom(target="my_package.nets.Net", arguments={"depth": 3}, num_classes=7)


def test_an_error_inside_the_network_is_its_own() -> None:
    with pytest.raises(TypeError, match="inside the network"):
        custom(target="my_package.nets.broken", num_classes=7)
