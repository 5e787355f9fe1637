"""What is kept of how a run came about."""

import subprocess
import sys
from pathlib import Path

import pytest

from distill.experiment.provenance import FILE, note_start, provenance_of


def git(place: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", "-C", str(place), *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_each_start_is_kept_with_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert provenance_of(tmp_path) is None
    for typed in (["python", "train.py", "seed=1", "teacher.name=a b"], ["python", "/bin/distill-train", "resume=x"],
                  ["python", "-m", "distill", "seed=2"]):  # fmt: skip
        monkeypatch.setattr(sys, "orig_argv", typed)
        note_start(tmp_path, ["seed=1"])
    note_start(tmp_path, ["seed=3"], one_of_several=True)
    found = provenance_of(tmp_path)
    assert found is not None
    assert found.commands == [
        "python train.py seed=1 'teacher.name=a b'",
        "distill-train resume=x",
        "python -m distill seed=2",
        "python -m distill seed=3",
    ]
    assert found.overrides == ["seed=1"]
    assert found.directory == str(tmp_path)
    assert int(found.machine["cores"]) > 0
    assert {"CPU", "threads of torch", "system"} <= found.machine.keys()
    assert (tmp_path / FILE).is_file()


def test_the_commit_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    (tmp_path / "mine.py").write_text("a = 1\n")
    git(tmp_path, "add", "mine.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")[:12]
    note_start(tmp_path)
    found = provenance_of(tmp_path)
    assert found is not None
    assert found.commits["working directory"] == commit
    (tmp_path / "mine.py").write_text("a = 2\n")
    note_start(tmp_path)
    found = provenance_of(tmp_path)
    assert found is not None
    assert found.commits["working directory"] == f"{commit} with uncommitted changes"
