"""What goes to train.log and what to the terminal."""

import logging
from pathlib import Path

import pytest

from distill.log import account_of, forget_what_was_said, keep_account, log_to, warnings_of


def test_a_warning_reaches_the_terminal_once_and_the_file_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to(tmp_path / "train.log")
    log = logging.getLogger("distill.here")
    for size in (3, 3, 4):
        log.warning("%d images are odd", size)
    log.info("all is well")
    assert capsys.readouterr().err == "WARNING: 3 images are odd\nWARNING: 4 images are odd\n"
    written = (tmp_path / "train.log").read_text()
    assert (written.count("3 images are odd"), written.count("all is well")) == (2, 1)


def test_a_second_run_in_a_process_has_a_log_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "second"):
        log_to(tmp_path / name / "train.log")
        logging.getLogger("distill").warning(name)
        logging.getLogger("distill").warning("both")
    assert capsys.readouterr().err.count("WARNING: both") == 2
    assert "second" not in (tmp_path / "first" / "train.log").read_text()
    assert "second" in (tmp_path / "second" / "train.log").read_text()


def test_a_runs_own_warnings_are_kept_for_its_end_each_once_on_a_line(tmp_path: Path) -> None:
    log_to(tmp_path / "train.log")
    assert warnings_of(tmp_path) == []
    logging.getLogger("distill.here").warning("two\nlines")
    logging.getLogger("pytorch_lightning").warning("not ours")
    log_to(tmp_path / "train.log")  # as a process that the run starts, or a resumed run, does
    logging.getLogger("distill.there").warning("%d more", 1)
    logging.getLogger("distill.here").warning("two\nlines")
    logging.getLogger("distill.here").info("all is well")
    assert warnings_of(tmp_path) == ["two lines", "1 more"]
    keep_account(tmp_path, ["layers    at: stem <-> stem"])
    forget_what_was_said(tmp_path)
    assert warnings_of(tmp_path) == account_of(tmp_path) == []


def test_a_full_disk_leaves_messages_out_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.log").symlink_to("/dev/full")
    log_to(tmp_path / "train.log")
    logging.getLogger("distill").warning("a checkpoint was not written")
    assert capsys.readouterr().err == "WARNING: a checkpoint was not written\n"
