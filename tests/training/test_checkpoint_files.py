"""Checkpoints on disk: what is damaged is not used, what went before it is, and a full disk ends nothing."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.training.checkpoint_files import CheckpointFiles, newest_whole, previous

STATE = {"global_step": 7, "state_dict": {"weight": torch.arange(300.0)}, "history": [{"train/loss": 0.5}]}


def written(file: Path, step: int) -> None:
    CheckpointFiles().save_checkpoint({**STATE, "global_step": step}, file)


def read(file: Path) -> dict[str, Any]:
    return dict(torch.load(file, weights_only=True))


def test_the_one_before_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "stage" / "last.ckpt"
    assert newest_whole(file) is None
    for step in (1, 2, 3):
        written(file, step)
    assert sorted(path.name for path in file.parent.iterdir()) == ["last.ckpt", "last.previous.ckpt"]
    assert newest_whole(file) == file
    assert [read(each)["global_step"] for each in (file, previous(file))] == [3, 2]
    file.unlink()
    assert newest_whole(file) == previous(file)


def test_one_that_is_cut_short_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "last.ckpt"
    written(file, 1)
    written(file, 2)
    content = file.read_bytes()
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        caplog.clear()
        assert newest_whole(file) == previous(file), length
        assert f"{file}: is damaged" in caplog.text
    previous(file).write_bytes(content[:100])
    assert newest_whole(file) is None


def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    written(file, 1)
    written(file, 2)
    content = file.read_bytes()
    draw = random.Random(0)
    found = 0
    for place in draw.sample(range(len(content)), 200):
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        file.write_bytes(flipped)
        if newest_whole(file) != file:
            found += 1
            continue
        state = read(file)
        assert torch.equal(state["state_dict"]["weight"], torch.arange(300.0)), place
        assert (state["global_step"], state["history"]) == (2, STATE["history"]), place
    assert found > 50


def test_a_full_disk_leaves_the_one_before_and_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "last.ckpt"
    files = CheckpointFiles()
    files.save_checkpoint(STATE, file)
    for _ in range(2):
        (folder := tmp_path / f".last.ckpt.{os.getpid()}.tmp").mkdir()
        (folder / "new.ckpt").symlink_to("/dev/full")
        files.save_checkpoint({**STATE, "global_step": 8}, file)
    assert caplog.text.count("was not written (No space left on device); training goes on") == 1
    assert read(file)["global_step"] == 7
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    files.save_checkpoint({**STATE, "global_step": 9}, file)
    assert read(file)["global_step"] == 9
