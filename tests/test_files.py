"""A reader never sees half a file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill.files import remove_leftovers, write_atomically, write_text


def test_it_makes_directories_and_leaves_nothing_beside(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "page.html"
    write_text(file, "naïve → ✓")
    assert file.read_text(encoding="utf-8") == "naïve → ✓"
    write_text(file, "again")
    assert [path.name for path in file.parent.iterdir()] == ["page.html"]
    assert file.read_text() == "again"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "summary.json"
    write_text(file, "old")

    def fail(path: Path) -> None:
        assert path.parent.parent == file.parent  # a rename must not cross file systems
        (path.parent / ".tmp4fM2xA").touch()  # as safetensors makes them
        assert path.suffix == ".json"
        path.write_text("half of the n")
        assert file.read_text() == "old"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, fail)
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_whoever_may_read_new_files_may_read_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "new").touch()

    def as_if_for_the_owner_alone(file: Path) -> None:
        file.write_text("whole")
        file.chmod(0o600)

    write_atomically(tmp_path / "written", as_if_for_the_owner_alone)
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "new").stat().st_mode


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    alive = tmp_path / f".last.ckpt.{os.getpid()}.tmp"
    (tmp_path / "below").mkdir()
    others = [tmp_path / name for name in ("summary.json", ".lock", ".notes.tmp", "x.1.tmp")]
    folder = tmp_path / f".record.json.{gone.pid}.tmp"
    folder.mkdir()
    left = [folder / "new.json", folder / ".tmp4fM2xA", tmp_path / "below" / f".logits.bin.{gone.pid}.tmp"]
    for file in (alive, *others, *left):
        file.touch()
    remove_leftovers(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*")) == sorted([alive, *others, tmp_path / "below"])
