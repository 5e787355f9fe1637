"""A student that learns from its teacher alone what images without labels are, in a whole run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from distill.data.digits import digits
from distill.errors import SettingError


def test_images_without_labels_are_taught_and_the_baseline_takes_as_many_steps(
    run_here: Any, finished: Any, tmp_path: Path, capsys: Any
) -> None:
    for number, image in enumerate(digits().train.show(torch.arange(96))):
        Image.fromarray(image.squeeze(0).numpy()).save(tmp_path / f"{number}.png")
    settings = (
        f"teacher.checkpoint={finished.directory}/teacher.safetensors", f"data.unlabeled={tmp_path}", "logger=none",
        "trainer.max_epochs=1", "trainer.precision=32-true", "data.batch_size=32", "data.student_fraction=0.05",
    )  # fmt: skip
    with pytest.raises(SettingError, match=r"method\.dkd: needs the class of every training image"):
        run_here(*settings, "method=dkd", name="refused")
    run = run_here(*settings, "data.augment.mixup=0.4", "label_smoothing=0.1")
    assert f"96 images without labels for the student, below {tmp_path}" in capsys.readouterr().out
    records = {stage: json.loads((run / f"checkpoints/{stage}/record.json").read_text())
               for stage in ("baseline", "student")}  # fmt: skip
    assert records["student"]["steps"] == records["baseline"]["steps"] == (65 + 96) // 32
    last = {stage: record["history"][-1] for stage, record in records.items()}
    assert 0 < last["student"]["train/ce"] < last["baseline"]["train/ce"]  # of two images in five a label is known
    assert last["student"]["train/kd"] > 0
