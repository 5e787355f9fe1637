"""A teacher and a student of different sizes and statistics see the same augmented image, each as it was trained to."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from distill import LiveTeacher
from distill.cli import CONFIGS
from distill.config import build
from distill.config.run_config import parse
from distill.experiment.pipeline import prepare
from distill.methods import KD
from distill.types import Batch

TEACHER_MEAN, TEACHER_STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class Recorder(nn.Module):
    """Remembers what it is shown; takes one size only."""

    def __init__(self, num_classes: int, in_channels: int, size: int) -> None:
        super().__init__()
        self.head = nn.Linear(in_channels * size * size, num_classes)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach())
        logits: Tensor = self.head(images.flatten(1))
        return logits


def recorded(part: nn.Module) -> list[Tensor]:
    assert isinstance(part, Recorder)
    return part.seen


def test_both_networks_see_the_same_augmented_image_each_in_its_own_way(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (12, 24, 24, 3), dtype=np.uint8)
    labels = np.arange(12) % 3
    np.savez(tmp_path / "i.npz", train_images=pixels, train_labels=labels, val_images=pixels, val_labels=labels)
    overrides = [
        "data=arrays", f"data.path={tmp_path / 'i.npz'}", "data.batch_size=6",
        "trainer=cpu", "trainer.precision=32-true",
        "data.augment={crop_padding: 4, flip: true, color_jitter: 0.4, cutout: 5}",
        "model@teacher=custom", "teacher.target=test_same_image.Recorder", "teacher.arguments={size: 32}",
        "teacher.size=32", f"teacher.mean={list(TEACHER_MEAN)}", f"teacher.std={list(TEACHER_STD)}",
        "model@student=custom", "student.target=test_same_image.Recorder", "student.arguments={size: 16}",
        "student.size=16",
    ]  # fmt: skip
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        run = prepare(parse(compose("train", overrides=overrides)), tmp_path)
    teacher, student = run.network("teacher"), run.network("student")
    stage = run.stage("student")
    module = stage.module(student, run.teacher(teacher), KD())
    assert isinstance(module.teacher, LiveTeacher)
    batch: Batch = next(iter(stage.data().train_dataloader()))
    parts = [module.teacher.network.backbone, student.backbone]
    for part in parts:
        recorded(part).clear()
    trainer = build.trainer(run.config.trainer, logger=False, max_epochs=1, enable_checkpointing=False,
                            limit_train_batches=1, limit_val_batches=0)  # fmt: skip
    trainer.fit(module, datamodule=stage.data())

    plain = torch.from_numpy(pixels).permute(0, 3, 1, 2)[batch.indices].float() / 255
    assert not torch.allclose(batch.inputs, plain, atol=0.05)  # augmented indeed
    ((shown_teacher,), (shown_student,)) = (recorded(part) for part in parts)
    per_channel = [torch.tensor(values).view(3, 1, 1) for values in (TEACHER_MEAN, TEACHER_STD, *run.statistics)]
    mean, std, data_mean, data_std = per_channel
    images = batch.inputs
    assert shown_teacher.shape == (6, 3, 32, 32)
    assert shown_student.shape == (6, 3, 16, 16)
    torch.testing.assert_close(shown_teacher, (_scaled(images, 32) - mean) / std)
    torch.testing.assert_close(shown_student, (_scaled(images, 16) - data_mean) / data_std)


def _scaled(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)
