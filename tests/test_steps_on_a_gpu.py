"""Batches, training steps and kept answers on a GPU that is pretended: nothing has the host wait for it."""

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended_gpu import GPU, pretended_gpu, pretended_streams
from torch import nn

from distill import DistillModule, Network
from distill.data import ImageSource, Split
from distill.data.augment import Augment, mixing
from distill.data.batches import ImageBatches
from distill.data.order import TrainingOrder
from distill.data.readers import MemoryReader
from distill.losses import autograd
from distill.methods import KD
from distill.models.cnn import cnn
from distill.teachers import CachedTeacher, TeacherInputs
from distill.teachers.ensemble import EnsembleTeacher
from distill.types import Batch

CLASSES, COUNT = 10, 64
EVERYTHING = {
    "none": Augment(),
    "crop, flip": Augment(crop_padding=2, flip=True),
    "all": Augment(resized_crop=0.5, flip=True, color_jitter=0.4, trivial_augment=True, cutout=4, mixup=0.2, cutmix=1),
}


def split() -> Split:
    pixels = torch.randint(0, 256, (COUNT, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Split(pixels, torch.arange(COUNT) % CLASSES)


def network(width: int) -> Network:
    torch.manual_seed(0)
    return Network(cnn(num_classes=CLASSES, in_channels=3, width=width), mean=[0.5] * 3, std=[0.3] * 3)


@pytest.mark.parametrize("augment", EVERYTHING.values(), ids=EVERYTHING.keys())
def test_batches_come_into_being_without_waiting(augment: Augment, monkeypatch: pytest.MonkeyPatch) -> None:
    order = TrainingOrder(torch.arange(COUNT), 16, 0)
    batches = ImageBatches(split(), order, num_classes=CLASSES, augment=augment)
    expected = next(iter(batches))
    monkeypatch.setattr(mixing, "_quantiles", mixing._quantiles.__wrapped__)  # or it keeps what is pretended
    with pretended_gpu(monkeypatch) as send:
        assert isinstance(batches.reader, MemoryReader)
        batches.reader = dataclasses.replace(batches.reader, images=send(batches.reader.images))
        batches.device = batches._workplace = GPU
        batch = next(iter(batches))
        assert (batch.inputs.device, batch.targets.device) == (GPU, GPU)
        assert (batch.inputs.shape, batch.targets.shape) == (expected.inputs.shape, expected.targets.shape)
        assert torch.equal(batch.indices, expected.indices)  # on the CPU


TEACHERS: dict[str, Callable[[], nn.Module]] = {
    "one": lambda: network(8),
    "mean of logits": lambda: EnsembleTeacher([network(8), network(6)]),
    "mean of probabilities": lambda: EnsembleTeacher([network(8), network(6)], "probabilities"),
    "confidence": lambda: EnsembleTeacher([network(8), network(6)], "confidence"),
}


@pytest.mark.parametrize("teacher", TEACHERS.values(), ids=TEACHERS.keys())
def test_a_training_step_does_not_wait(teacher: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autograd, "kernels", lambda: None)  # which run on a real GPU only
    said = pretended_streams(monkeypatch)
    module = DistillModule(network(4), teacher(), KD()).train()
    batch = Batch(torch.rand(16, 3, 8, 8), torch.arange(16) % CLASSES, torch.arange(16))
    with pretended_gpu(monkeypatch) as send:
        assert module.teacher is not None
        send(module), send(module.teacher)
        monkeypatch.setattr(module, "_device", GPU)  # as Lightning has it once the module was moved
        there = Batch(send(batch.inputs), send(batch.targets), torch.arange(16))
        loss = module.training_step(there, 0)
        assert (loss.shape, loss.device) == ((), GPU)
    assert said == ["aside waits for training", "aside begins", "aside ends", "training waits for aside"]


@pytest.mark.parametrize("settings", [{}, {"dtype": "bfloat16"}, {"top_k": 3}], ids=["all logits", "bfloat16", "top 3"])
def test_kept_answers_are_sent_without_waiting(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(number) for number in range(CLASSES)]
    source = ImageSource("noise", split(), split(), names)
    inputs = TeacherInputs(source, torch.arange(COUNT), Augment(), epochs=1, batch_size=16)
    teacher = CachedTeacher(network(8), inputs, dir=str(tmp_path), **settings)
    teacher.check(KD())
    indices = torch.arange(5, 21)
    batch = Batch(torch.rand(16, 3, 8, 8), torch.arange(16) % CLASSES, indices, split="train")
    for _ in range(2):  # asked, and kept; what is read again is trusted from then on
        expected = teacher(batch)
    with pretended_gpu(monkeypatch) as send:
        answers = teacher(replace(batch, inputs=send(batch.inputs)))
        assert answers.logits.device == GPU
        assert answers.logits.shape == expected.logits.shape
        assert answers.likeliest().device == GPU
