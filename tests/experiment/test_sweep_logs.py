"""The logs of a sweep's jobs, under names that say what differs."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from distill.experiment.sweep import OUTCOME, Outcome, name_logs


def test_logs_are_named_by_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, temperature in enumerate((1, 4)):
        job = tmp_path / str(number)
        (job / "tensorboard" / "student").mkdir(parents=True)
        (job / "tensorboard" / "student" / "events").write_text(str(temperature))
        said = ["data=digits", f"method.kd.temperature={temperature}", "student.path=a/b"][: 2 + number]
        (job / OUTCOME).write_text(json.dumps(asdict(Outcome(number, said, 0, None))))
    for _ in range(2):  # a sweep that goes on names them again
        name_logs(tmp_path)
    named = {file.name: (file / "student" / "events").read_text() for file in (tmp_path / "tensorboard").iterdir()}
    assert named == {"method.kd.temperature=1": "1", "method.kd.temperature=4 student.path=a_b": "4"}
    assert f"tensorboard --logdir {tmp_path / 'tensorboard'}" in capsys.readouterr().out


def test_without_logs_there_is_nothing_to_name(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / OUTCOME).write_text(json.dumps(asdict(Outcome(0, [], 0, None))))
    name_logs(tmp_path)
    assert not (tmp_path / "tensorboard").exists()
