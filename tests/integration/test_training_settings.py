"""What people set about training, in whole runs: fine-tuning, freezing, rates by layer, labels, sampling."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distill.errors import SettingError
from distill.training.averaging import Averaging

ONE = ("trainer.max_epochs=1", "teacher.max_epochs=1", "trainer.precision=32-true", "logger=none")
LABELS = ("label_smoothing=0.1", "class_weights=balanced", "data.sampling=balanced")


def history(run: Path, stage: str) -> Any:
    return json.loads((run / f"checkpoints/{stage}/record.json").read_text())["history"]


@pytest.fixture(scope="module")
def started(finished: Any) -> Any:
    return f"teacher.checkpoint={finished.directory}/teacher.safetensors"


def test_a_teacher_is_fine_tuned_with_a_rate_and_frozen_parts_of_its_own(
    run_here: Any, weights: Any, started: str, finished: Any
) -> None:
    run = run_here(
        started, *ONE, "teacher.train=true", "teacher.freeze=[stem,layer1]", "scheduler=constant",
        "teacher.optimizer.lr=2e-4", "student.freeze=[stem.conv]", "optimizer.layer_decay=0.5", "method=fitnet",
        "keep=best", "trainer.check_val_every_n_epoch=2",
    )  # fmt: skip
    before, after = weights(finished.directory / "teacher.safetensors"), weights(run / "teacher.safetensors")
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert "head.weight" in moved
    assert not any(name.startswith(("stem", "layer1")) for name in moved)
    assert history(run, "teacher")[0]["train/learning_rate"] == pytest.approx(2e-4)
    assert history(run, "student")[0]["train/learning_rate"] == pytest.approx(0.01)
    said = json.loads((run / "summary.json").read_text())
    assert said["teacher"]["accuracy"] > 0.9
    assert any(line.startswith("keep=best: the student was never validated") for line in said["warnings"])
    assert (said["student"]["kept_epoch"], said["student"]["epochs"]) == (1, 1)
    first, last = (weights(run / f"{stage}.safetensors") for stage in ("baseline", "student"))
    assert torch.equal(first["stem.conv.weight"], last["stem.conv.weight"])
    assert not torch.equal(first["layer1.conv.weight"], last["layer1.conv.weight"])


def test_a_pretrained_teacher_that_is_told_to_train_keeps_what_it_knows(
    run_here: Any, started: str, capsys: Any
) -> None:
    run = run_here(started, *ONE, *LABELS, "teacher.train=true", "baseline=false", "scheduler=constant")
    said = capsys.readouterr().out
    line = "fine-tuned first, for 1 epoch at lr=0.0001 (a hundredth of optimizer.lr, for its weights are pretrained"
    assert line in said
    assert "fine-tuned at lr=0.0001" in (run / "train.log").read_text()
    assert history(run, "teacher")[0]["train/learning_rate"] == pytest.approx(1e-4)
    assert json.loads((run / "summary.json").read_text())["teacher"]["accuracy"] > 0.9
    assert history(run, "student")[0]["train/ce"] > 0.1 * history(run, "student")[0]["val/ce"]


def test_class_weights_and_patterns_are_checked_before_anything_is_trained(run_here: Any, tmp_path: Path) -> None:
    for settings, says in (
        (["class_weights=[1,2]"], r"class_weights=\[1, 2\]: must be balanced, or a list of 10"),
        (
            ["teacher.freeze=[layerr1]"],
            r"teacher.freeze=\[layerr1\]: no layer or parameter matches; did you mean layer1",
        ),
        (["teacher.train=true", "teacher.max_epochs=0"], "teacher.max_epochs=0: must be 1 or more with train=true"),
        (["early_stopping=5"], "early_stopping=5: must be told how; give early_stopping.patience=EPOCHS"),
        (["early_stopping.patience=0"], "early_stopping.patience=0: must be 1 or more epochs, or null"),
        (["keep=first"], "keep='first': must be one of last, best"),
        (["averaging=mean"], "averaging='mean': must be one of ema, swa or null"),
        (["averaging=ema", "trainer=fsdp", "trainer.accelerator=cpu"], "averaging=ema: must be left out with"),
        (["+student.train=true"], "student.train=True: is for a teacher that is trained first"),
    ):
        with pytest.raises(SettingError, match=says):
            run_here(*settings)
    assert not (tmp_path / "run" / "checkpoints").exists()


WATCHED = (
    "keep=best", "early_stopping.patience=2", "averaging=swa", "swa_start=0.2", "model@student=resnet8",
    "data.augment.flip=true", "data.batch_size=32", "trainer.max_epochs=5", "logger=none", "trainer.precision=32-true",
    "baseline=false",
)  # fmt: skip


def test_best_epoch_early_stopping_and_averages_survive_an_interruption(
    run_here: Any, weights: Any, started: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_here(started, *WATCHED, name="whole")
    own = Averaging.on_train_batch_end

    def fails(self: Any, trainer: Any, *rest: Any) -> None:
        own(self, trainer, *rest)
        if trainer.current_epoch == 2:
            raise KeyError("the power fails")

    monkeypatch.setattr(Averaging, "on_train_batch_end", fails)
    with pytest.raises(KeyError):
        run_here(started, *WATCHED)
    monkeypatch.setattr(Averaging, "on_train_batch_end", own)
    cut = whole.parent / "run"
    assert not (cut / "student.safetensors").exists()
    run_here(f"resume={cut}")
    first, second = (weights(run / "student.safetensors") for run in (whole, cut))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    one, other = (json.loads((run / "summary.json").read_text()) for run in (whole, cut))
    assert one["student"]["accuracy"] == other["student"]["accuracy"]
    assert one["student"]["kept_epoch"] == other["student"]["kept_epoch"]
    best = max(entry["val/accuracy"] for entry in history(whole, "student"))
    assert one["student"]["accuracy"] == pytest.approx(best)
    assert history(whole, "student")[one["student"]["kept_epoch"] - 1]["val/accuracy"] == best
    assert one["keep"] == "best"
    assert "chose each network&#39;s epoch (keep=best)" in (whole / "report.html").read_text()


def bars(shares: list[float], count: int, seed: int) -> tuple[Any, Any]:
    """Images whose class shows as a bright bar; (count, 16, 16) uint8 and (count,) labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(shares), count, p=shares)
    images = rng.integers(0, 60, (count, 16, 16), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[5 * label : 5 * label + 5] += 100
    return images, labels


def test_networks_that_end_at_the_majority_share_are_said_everywhere_and_a_test_split_is_scored_once(
    run_here: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = {}
    for seed, split in enumerate(("train", "val", "test")):
        images, labels = bars([0.9, 0.08, 0.02], 200, seed)
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    np.savez(tmp_path / "lopsided.npz", **arrays)
    run = run_here("data=arrays", f"data.path={tmp_path}/lopsided.npz", "teacher.optimizer.lr=0", *ONE, "keep=best")
    said, shown = json.loads((run / "summary.json").read_text()), capsys.readouterr().out
    (teacher, *_) = (line for line in said["warnings"] if line.startswith("teacher ends at"))
    share = (arrays["val_labels"] == 0).mean()
    assert (
        f"on 200 validation images, chance is {share:.1%}: its accuracy is not clearly better than that of a guess"
        in teacher
    )
    assert "change teacher.optimizer.lr, raise teacher.max_epochs" in teacher
    assert f"WARNING: {teacher}" in shown
    assert teacher in (run / "report.html").read_text()
    log = (run / "train.log").read_text()
    assert log.index("teacher ends at") < log.index("baseline: ")  # before others learn from it
    for stage in ("baseline", "student"):
        doubted = any(line.startswith(f"{stage} ends at") for line in said["warnings"])
        assert doubted == (said[stage]["accuracy"] < share + 0.05)
    test = said["test"]
    assert test["images"] == 200
    predicted = test["student"]["accuracy"] - test["baseline"]["accuracy"]
    assert test["gain_points"] == pytest.approx(100 * predicted)
    assert set(test["student"]) == {"accuracy", "agreement", "kl", "ece", "score", "f1", "mcc"}
    assert 0 <= test["p_value"] <= 1
    assert "200 test images" in " ".join(shown.split())
    assert f"{test['student']['accuracy']:.1%}" in next(
        line for line in shown.splitlines() if line.startswith("  student ")
    )
    assert "scored once on 200 test images" in log
