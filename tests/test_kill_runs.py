"""The script that kills runs: it sees torn files, and runs that do not go on as they began."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from kill_runs import READERS, SIZE, WRITERS, Kills, _torn, torn_files

PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from distill.files import write_text

given = dict(argument.split("=", 1) for argument in sys.argv[1:])
run = Path(given.get("resume") or given["hydra.run.dir"])
write_text(run / "config.yaml", "")
record = run / "checkpoints/student/record.json"
history = json.loads(record.read_text())["history"] if record.is_file() else []
while len(history) < 10:
    history.append({"loss": len(history)})
    write_text(record, json.dumps({"history": history}))
    time.sleep(0.02)
save_file({"weight": np.float32([FORGETS and "resume" in given])}, run / "student.safetensors")
write_text(run / "summary.json", json.dumps({"student": {"score": 1.0}}))
"""


@pytest.mark.parametrize("forgets", [False, True])
def test_a_run_that_goes_on_otherwise_is_seen(forgets: bool, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.replace("FORGETS", str(forgets)))
    kills = Kills(tmp_path / "runs", [], [sys.executable, str(tmp_path / "program.py")])
    (outcome,) = kills.go_on(1, time.monotonic() + 300)
    assert outcome.place is None
    assert [said.partition(":")[0] for said in outcome.different] == (["student.safetensors"] if forgets else [])
    assert (tmp_path / "runs" / "killed-0").exists() == forgets  # to be looked at
    before = (tmp_path / "runs" / "outcomes.jsonl").read_text()
    assert kills.go_on(1, time.monotonic() + 300) == [outcome]  # what was tried is not tried again
    assert (tmp_path / "runs" / "outcomes.jsonl").read_text() == before


def test_killed_writers_tear_no_file(tmp_path: Path) -> None:
    assert torn_files(tmp_path, 12, time.monotonic() + 300) == (12, [])
    assert {file.name for file in tmp_path.iterdir()} >= {"text.json", "last.ckpt"}


@pytest.mark.parametrize("name", WRITERS)
def test_a_torn_file_is_seen(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    WRITERS[name](file, 3)
    assert _torn(file) is None
    assert (READERS[name](file) == np.full(SIZE, 3)).all()
    file.write_bytes(file.read_bytes()[:-1000])
    assert "cannot be read" in str(_torn(file))


def test_a_file_of_two_writings_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "text.json"
    file.write_text(json.dumps([1] * 1000 + [2] * (SIZE - 1000)))
    assert _torn(file) == "text.json is of two writings"
