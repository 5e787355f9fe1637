"""The default precision, as a user meets it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from distill.training.precision import choose_precision

SHORT = ("trainer.max_epochs=2", "teacher.max_epochs=2", "baseline=false", "trainer=cpu")


def test_auto_is_settled_before_the_run_and_stays_with_it(
    run_here: Callable[..., Path], capsys: Any, tmp_path: Path
) -> None:
    chosen, reason = choose_precision(torch.device("cpu"))
    live = run_here(*SHORT)
    assert f"precision {chosen}: {reason}" in capsys.readouterr().out
    assert OmegaConf.load(live / "config.yaml").trainer.precision == chosen
    teacher = f"teacher.checkpoint={live / 'teacher.safetensors'}"
    cached = ("teaching=cached", f"teaching.dir={tmp_path / 'answers'}", teacher)
    student = load_file(live / "student.safetensors")
    for name in ("fills", "reads"):
        other = load_file(run_here(*SHORT, *cached, name=name) / "student.safetensors")
        assert all(torch.equal(student[key], other[key]) for key in student)
