"""The script that runs all that needs a GPU, as far as it goes without one."""

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check.sh"
TINY = ("data=digits", "model@teacher=cnn24", "model@student=cnn4", "data.student_fraction=0.1", "trainer=cpu",
        "trainer.precision=32-true", "teacher.max_epochs=1", "preflight=false", "logger=none")  # fmt: skip


def check(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments], env={**os.environ, **environment}, capture_output=True, text=True, timeout=99
    )


def test_a_pair_is_trained_in_as_many_calls_as_it_takes(tmp_path: Path) -> None:
    settings = ("--suite=cifar", *TINY, f"hydra.run.dir={tmp_path}", "trainer.max_epochs=1", "baseline=false")
    first = check("--minutes=0.03", *settings, DEVICE="cpu")
    assert first.returncode == 143, first.stderr
    assert first.stderr.startswith("stopped by SIGTERM")
    last = check(*settings, DEVICE="cpu")
    assert last.returncode == 0, last.stderr
    assert (tmp_path / "student.safetensors").is_file()


def test_a_mistake_is_one_line() -> None:
    for arguments, line in (
        (["--suite=cifer"], "error: --suite=cifer: is none of all, cifar\n"),
        (["everything"], "error: everything: is none of tests, loss, train\n"),
    ):
        told = check(*arguments, DEVICE="cpu")
        assert (told.returncode, told.stderr) == (2, line)
