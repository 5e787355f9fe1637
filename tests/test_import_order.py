"""Imports point one way: a folder of distill/ knows those before it and none after it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import distill

ROOT = Path(distill.__file__).parent
ORDER = (
    (
        "errors",
        "files",
        "seeding",
        "devices",
        "inputs",
        "log",
        "schedules",
        "signals",
        "versions",
        "processes",
        "random",
    ),
    ("losses",),
    ("boxes", "placement", "types"),
    ("methods",),
    ("tasks",),
    ("data",),
    ("models",),
    ("teachers",),
    ("training",),
    ("config",),
    ("report",),
    ("experiment",),
    ("endings", "cli", "__main__"),
)
MOST_LINES = 300  # of a file: a longer one holds a second idea
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}


def imported(file: Path) -> Iterator[str]:
    """What a file imports of this package, as MODULE or MODULE.NAME; at its head, in functions and for types alone."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == "distill":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "distill")


def against_the_order(file: Path) -> list[str]:
    """What a file imports that stands after it."""
    own = file.relative_to(ROOT).with_suffix("").parts[0]
    return [name for name in imported(file) if RANK[name.split(".")[1]] > RANK[own]]


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_imports_nothing_that_stands_after_it(file: Path) -> None:
    if file != ROOT / "__init__.py":  # the public names, which it imports when they are used
        assert against_the_order(file) == []


def test_an_import_against_the_order_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "losses").mkdir()
    file = tmp_path / "losses" / "kl.py"
    file.write_text("def f():\n    from distill.training import module\n    import distill.config.build\n")
    assert against_the_order(file) == ["distill.training.module", "distill.config.build"]


def test_no_import_is_for_types_alone() -> None:
    hidden = [str(file.relative_to(ROOT)) for file in ROOT.rglob("*.py") if "TYPE_CHECKING" in file.read_text()]
    assert sorted(hidden) == ["__init__.py", "data/__init__.py"]  # public names, imported when they are used


def test_no_file_outgrows_one_idea() -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in ROOT.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
