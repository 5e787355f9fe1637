"""Answers on disk, and everything that may happen to them."""

import errno
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.errors import SettingError
from distill.losses import kl_divergence
from distill.teachers import array_file
from distill.teachers import store as store_module
from distill.teachers.array_file import ArrayFile
from distill.teachers.comparison import _differ
from distill.teachers.record import DType, Layout, checksums, in_bytes
from distill.teachers.store import AnswerTable, Manifest, Store, stores
from distill.types import Outputs

LAYOUT = Layout(classes=10)
ROWS = 100


def answers(rows: np.ndarray) -> dict[str, np.ndarray]:
    """What row r holds, a function of r alone."""
    return {"logits": (rows[:, None] + np.arange(10) / 16).astype(np.float32)}


def table(directory: Path) -> AnswerTable:
    return AnswerTable(directory, LAYOUT.fields, ROWS)


@pytest.mark.parametrize("shard_bytes", [1 << 28, 400])
def test_gives_back_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_bytes: int) -> None:
    monkeypatch.setattr(store_module, "SHARD_BYTES", shard_bytes)
    rows = np.random.default_rng(0).permutation(ROWS)[:60]
    table(tmp_path).write(rows, answers(rows))
    again = table(tmp_path)
    assert len(again.files) == (1 if shard_bytes > 400 else 10)
    found, there = again.read(np.arange(ROWS))
    assert set(there.nonzero()[0]) == set(rows) == set(again.written().nonzero()[0])
    assert np.array_equal(found["logits"][rows], answers(rows)["logits"])


def test_any_tool_reads_the_shards(tmp_path: Path) -> None:
    table(tmp_path).write(np.arange(ROWS), answers(np.arange(ROWS)))
    mapped = np.load(tmp_path / "000.logits.npy", mmap_mode="r", allow_pickle=False)
    assert np.array_equal(mapped, answers(np.arange(ROWS))["logits"])
    assert np.array_equal(np.load(tmp_path / "000.checksums.npy"), checksums(answers(np.arange(ROWS))))


def test_a_row_counts_only_with_its_checksum(tmp_path: Path) -> None:
    """As after a kill between the two writes."""
    mine = table(tmp_path)
    mine.files[0]["logits"].write(np.array([3]), answers(np.array([3]))["logits"])
    assert not table(tmp_path).read(np.array([3]))[1].any()


@pytest.mark.parametrize("damage", ["bit", "checksum"])
def test_a_damaged_row_is_missing_and_is_mended(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    table(tmp_path).write(np.arange(ROWS), answers(np.arange(ROWS)))
    name = "logits" if damage == "bit" else "checksums"
    array = np.lib.format.open_memmap(tmp_path / f"000.{name}.npy", mode="r+")
    raw = array.reshape(ROWS, -1).view(np.uint32)
    raw[7, 0] ^= 1
    array.flush()
    mine = table(tmp_path)
    assert mine.damaged().tolist() == [7]
    mine = table(tmp_path)
    with caplog.at_level(logging.WARNING, logger="distill"):
        logging.getLogger("distill").propagate = True
        assert (~mine.read(np.arange(ROWS))[1]).nonzero()[0].tolist() == [7]
    assert "damaged" in caplog.text
    mine.write(np.array([7]), answers(np.array([7])))
    assert mine.read(np.arange(ROWS))[1].all()
    assert not len(table(tmp_path).damaged())


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"x" * 5000])
def test_a_file_of_another_kind_is_made_anew(tmp_path: Path, content: bytes) -> None:
    table(tmp_path).write(np.arange(ROWS), answers(np.arange(ROWS)))
    (tmp_path / "000.logits.npy").write_bytes(content)
    mine = table(tmp_path)
    assert not mine.read(np.arange(ROWS))[1].any()
    mine.write(np.arange(5), answers(np.arange(5)))
    assert table(tmp_path).read(np.arange(ROWS))[1].nonzero()[0].tolist() == [0, 1, 2, 3, 4]


def test_all_of_every_file_is_read_ahead_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SHARD_BYTES", 2000)
    monkeypatch.setattr(array_file, "WINDOW", 300)
    advised: dict[str, set[int]] = {}

    def advise(file: int, start: int, length: int, advice: int) -> None:
        assert (length, advice) == (300, os.POSIX_FADV_WILLNEED)
        name = Path(f"/proc/self/fd/{file}").readlink().name
        advised.setdefault(name, set()).update(range(start, start + length))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    table(tmp_path).write(np.arange(50), answers(np.arange(50)))  # one shard of two; the other has no files
    mine = table(tmp_path)
    mine.read_ahead()
    reader = mine._reader
    mine.read_ahead()
    assert reader is not None
    assert mine._reader is reader
    reader.join()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["000.checksums.npy", "000.logits.npy"]
    assert all(set(range(file.stat().st_size)) <= advised[file.name] for file in files)


def _write_forever(directory: Path, seed: int) -> None:
    mine, chances = table(directory), np.random.default_rng(seed)
    while True:
        rows = chances.permutation(ROWS)[:8]
        mine.write(rows, answers(rows))


def test_two_writers_that_are_killed_leave_nothing_wrong(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_forever, args=(tmp_path, seed)) for seed in range(2)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 30
    while table(tmp_path).written().sum() < ROWS // 4 and time.monotonic() < deadline:
        found, there = table(tmp_path).read(np.arange(ROWS))
        assert np.array_equal(found["logits"][there], answers(np.arange(ROWS))["logits"][there])
    for writer in writers:
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    mine = table(tmp_path)
    found, there = mine.read(np.arange(ROWS))
    assert there.sum() >= ROWS // 4
    assert np.array_equal(found["logits"][there], answers(np.arange(ROWS))["logits"][there])
    mine.write((~there).nonzero()[0], answers((~there).nonzero()[0]))
    assert table(tmp_path).read(np.arange(ROWS))[1].all()


def test_a_file_system_without_hard_links_has_caches_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", source, None, target)

    monkeypatch.setattr(os, "link", refuse)
    rows = np.arange(ROWS)
    table(tmp_path).write(rows[:5], answers(rows[:5]))
    other = table(tmp_path)
    other.write(rows[5:9], answers(rows[5:9]))
    found, there = table(tmp_path).read(rows)
    assert there.nonzero()[0].tolist() == rows[:9].tolist()
    assert np.array_equal(found["logits"][there], answers(rows)["logits"][there])
    assert not list(tmp_path.rglob(".*"))


def test_a_short_write_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ArrayFile(tmp_path / "000.logits.npy", LAYOUT.fields[0], ROWS)
    file.write(np.array([0]), answers(np.array([0]))["logits"])

    class Short:
        def __enter__(self) -> "Short":
            return self

        def __exit__(self, *_: object) -> None: ...

        def seek(self, _: int) -> None: ...

        def write(self, data: memoryview) -> int:
            return len(data) - 1

    monkeypatch.setattr(Path, "open", lambda *_, **__: Short())
    with pytest.raises(OSError, match="No space left") as raised:
        file.write(np.array([1]), answers(np.array([1]))["logits"])
    assert raised.value.errno == errno.ENOSPC


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["float32", "float16", "bfloat16"]), st.sampled_from([None, 1, 3, 10]), st.integers(0, 10**6))
def test_layouts_keep_to_the_precision_of_their_dtype(dtype: DType, k: int | None, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, feature = torch.randn(6, 10, generator=generator) * 8, torch.randn(6, 2, 3, generator=generator)
    layout = Layout(10, dtype, k, (1.0, 4.0) if k else (), (("body.1", (2, 3)),))
    kept = layout.encode(Outputs(logits, {"body.1": feature}))
    assert layout.row_bytes == 4 + sum(values[0].nbytes for values in kept.values())
    assert all(values.dtype == np.dtype(f.dtype) for values, f in zip(kept.values(), layout.fields, strict=True))
    found = layout.decode(kept, torch.device("cpu"))
    error = {"float32": 0.0, "float16": 2**-10, "bfloat16": 2**-7}[dtype]
    assert torch.allclose(found.features["body.1"], feature, rtol=error, atol=error)
    likeliest = logits.gather(1, found.likeliest()[:, None])  # or one that rounds to the same
    assert torch.allclose(likeliest, logits.amax(1, keepdim=True), rtol=2 * error, atol=0)
    if k is None:
        assert torch.allclose(found.logits, logits, rtol=error, atol=error)
    else:
        kept_classes = found.at(4.0).values.exp().sum(1) + found.at(4.0).log_tail.exp()
        assert torch.allclose(kept_classes, torch.ones(6), atol=1e-5)


def test_a_value_beyond_the_dtype_is_told() -> None:
    with pytest.raises(SettingError, match=r"teaching.dtype=float16: cannot hold 70000"):
        Layout(10, "float16").encode(Outputs(torch.full((2, 10), 7e4)))


def test_manifests_are_read_back(tmp_path: Path) -> None:
    made = Store(tmp_path, Manifest("abc", {"teacher": {"name": "t"}}, {"train": LAYOUT.fields}, {"train": ROWS}))
    made.open()
    made.table("train", 3).write(np.arange(5), answers(np.arange(5)))
    content = json.loads((tmp_path / "abc" / "manifest.json").read_text())
    assert content["fields"]["train"][0] == {"name": "logits", "dtype": "<f4", "shape": [10]}
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    (found,) = stores(tmp_path)
    assert found.manifest == made.manifest
    (only,) = found.tables()
    assert only.written().sum() == 5
    assert found.bytes_on_disk > 0
    found.remove()
    assert not (tmp_path / "abc").exists()


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 B"), (19.3e6, "19.3 MB"), (2.56e12, "2560.0 GB"), (1e3, "1.0 kB")]
)
def test_sizes_in_words(count: float, text: str) -> None:
    assert in_bytes(count) == text


def test_a_full_disk_is_an_error_and_what_was_written_is_read(tmp_path: Path) -> None:
    """On a file system of its own, where that is permitted."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("may not mount a file system")
    try:
        large = AnswerTable(tmp_path / "cache", LAYOUT.fields, 1000)
        large.write(np.arange(250), answers(np.arange(250)))
        with pytest.raises(OSError, match="No space left"):
            large.write(np.arange(250, 1000), answers(np.arange(250, 1000)))
        found, there = AnswerTable(tmp_path / "cache", LAYOUT.fields, 1000).read(np.arange(1000))
        assert there.nonzero()[0].tolist() == list(range(250))
        assert np.array_equal(found["logits"][there], answers(np.arange(1000))["logits"][there])
    finally:
        del large
        subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("k", [None, 9])
def test_classes_that_the_teacher_rules_out_are_kept_as_such(dtype: DType, k: int | None) -> None:
    layout = Layout(10, dtype, k, (1.0, 4.0) if k else ())
    logits = torch.randn(4, 10, generator=torch.Generator().manual_seed(0)).masked_fill(
        torch.arange(10) < 3, -torch.inf
    )
    found = layout.decode(layout.encode(Outputs(logits)), torch.device("cpu"))
    student = torch.randn(4, 10, requires_grad=True)
    losses = [kl_divergence(student, answers, temperature=4.0) for answers in (found.at(4.0), logits)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=0.02)
    losses[0].backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    if dtype == "float16" and k is None:
        logits[0, 5] = 7e4
        with pytest.raises(SettingError, match=r"teaching.dtype=float16: cannot hold 70000"):
            layout.encode(Outputs(logits))


def test_a_class_that_is_no_longer_ruled_out_is_another_answer() -> None:
    logits = torch.randn(4, 10)
    masked = logits.masked_fill(torch.arange(10) == torch.arange(4)[:, None], -torch.inf)
    changed = masked.clone()
    changed[1, 1] = 0
    changed[2, 5] += 9
    changed[3, 5] = torch.nan
    assert _differ(Outputs(masked), Outputs(changed), 0.05).tolist() == [False, True, True, True]
