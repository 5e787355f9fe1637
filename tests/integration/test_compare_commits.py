"""scripts/compare_commits.py: whether two commits train the same networks."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import ROOT, ForkServer
from safetensors.torch import load_file, save_file

SCRIPT = ROOT / "scripts" / "compare_commits.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = spec_from_file_location("compare_commits", SCRIPT)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def pair(finished: Any, tmp_path: Path) -> tuple[Path, Path]:
    """A finished run, twice."""
    return tuple(shutil.copytree(finished.directory, tmp_path / side) for side in "AB")


def edit(file: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_run_is_like_itself(script: Any, pair: tuple[Path, Path]) -> None:
    found = script.compare_runs(*pair)
    assert (found.different, found.only_in) == ([], {"A": [], "B": []})
    assert found.common > 100


def test_one_bit_of_one_weight_is_found(script: Any, pair: tuple[Path, Path]) -> None:
    weights = load_file(pair[1] / "student.safetensors")
    name, tensor = next((name, tensor) for name, tensor in weights.items() if tensor.dtype == torch.float32)
    tensor.reshape(-1).view(torch.int32)[-1] ^= 1
    save_file(weights, pair[1] / "student.safetensors")
    (line,) = script.compare_runs(*pair).different
    assert line.startswith(f"student.safetensors: 1 of {len(weights)}: {name} by ")


def test_a_score_and_an_epoch_are_found_and_times_are_not_compared(script: Any, pair: tuple[Path, Path]) -> None:
    _, run = pair
    edit(run / "summary.json", lambda summary: summary["student"].update(accuracy=0.125, latency_ms=9, kl=float("nan")))
    edit(run / "checkpoints/student/record.json", lambda record: record["history"][1].update({"val/kl": 7.5}))
    edit(run / "checkpoints/teacher/record.json", lambda record: record["history"].pop() and record.update(seconds=9))
    found = script.compare_runs(*pair).different
    assert [line.partition(":")[0] for line in found] == [
        "summary.json", "checkpoints/student/record.json", "checkpoints/teacher/record.json",
    ]  # fmt: skip
    assert "student.accuracy" in found[0]
    assert "-> 0.125" in found[0]
    assert "student.kl" in found[0]
    assert "1.val/kl" in found[1]
    assert found[2].endswith("2 epochs -> 1 epochs")


def test_other_names_are_told_but_are_no_difference(script: Any, pair: tuple[Path, Path]) -> None:
    _, run = pair
    edit(run / "summary.json", lambda summary: summary.update(theme="images", grain=summary.pop("gain_points")))
    found = script.compare_runs(*pair)
    assert found.different == []
    assert found.only_in["A"] == ["summary.json: gain_points"]
    assert sorted(found.only_in["B"]) == ["summary.json: grain", "summary.json: theme"]


def test_what_cannot_be_compared_is_not_the_same(script: Any, pair: tuple[Path, Path]) -> None:
    _, run = pair
    (run / "student.safetensors").unlink()
    (run / "summary.json").unlink()
    weights, summary = script.compare_runs(*pair).different
    assert weights.startswith("*.safetensors: A has ")
    assert summary == "summary.json: A has summary.json, B has none"


def test_two_commits(forks: ForkServer, tmp_path: Path) -> None:
    """The command, on a repository whose second commit changes what the student, and it alone, is taught with."""
    repository = tmp_path / "repository"

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b", *arguments], cwd=repository, check=True)

    for name in ("distill", "configs"):
        shutil.copytree(ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", repository)
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    setting = repository / "configs/method/kd.yaml"
    setting.write_text(setting.read_text().replace("temperature: 4.0", "temperature: 4.5"))
    git("commit", "-qam", "second")
    # Its two runs have their commits' code: they import it themselves.
    done = forks.run(str(SCRIPT), "HEAD~1", "HEAD", "--only", "digits-bf16", cwd=repository, launches=2)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("digits-bf16      differs: student.safetensors: ")
    assert "teacher.safetensors" not in done.stdout
    assert "baseline.safetensors" not in done.stdout
    assert "summary.json: " in done.stdout
    assert "checkpoints/student/record.json: " in done.stdout
