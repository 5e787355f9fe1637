"""A teacher's kept answers that are maps: bit for bit those of a live one, for crops and flips that are replayed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.data import Augment, ImageDataModule
from distill.data.digit_scenes import digit_scenes
from distill.methods import KD
from distill.models.cnn import cnn
from distill.models.network import Network
from distill.teachers import CachedTeacher, LiveTeacher, TeacherInputs
from distill.training.module import DistillModule
from distill.types import Batch

SOURCE = digit_scenes(train=8, val=3)
AUGMENT = Augment(zoom=[0.7, 1.5], crop=[48, 56], flip=True)
LAYER = "backbone.layer2"


def teacher(folder: Path, **settings: Any) -> tuple[CachedTeacher, LiveTeacher]:
    torch.manual_seed(0)
    networks = [Network(cnn(num_classes=11, in_channels=1, width=4, task="segmentation")) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    inputs = TeacherInputs(SOURCE, torch.arange(8), AUGMENT, epochs=2, batch_size=4)
    return CachedTeacher(networks[0], inputs, dir=str(folder), **settings), LiveTeacher(networks[1])


def batches() -> list[Batch]:
    """Two epochs of training, and validation."""
    data = ImageDataModule(SOURCE, batch_size=4, augment=AUGMENT)
    found = []
    for epoch in range(2):
        loader = data.train_dataloader()
        loader.order.set_epoch(epoch)  # type: ignore[union-attr]
        found += [replace(batch, split="train", epoch=epoch) for batch in loader]
    return [*found, *(replace(batch, split="val") for batch in data.val_dataloader())]


def test_kept_maps_and_features_are_those_of_a_live_teacher_bit_for_bit(tmp_path: Path) -> None:
    for passes in (5, 0):  # filled, then read by another run
        cached, live = teacher(tmp_path, features=True)
        cached.tap([LAYER])
        live.tap([LAYER])
        for batch in batches():
            kept, expected = cached(batch), live(batch)
            assert torch.equal(kept.logits, expected.logits)
            if batch.split == "train":
                assert kept.logits.shape[2:] == (48, 56)
                assert torch.equal(kept.features[LAYER], expected.features[LAYER])
        assert cached.passes == passes


def test_a_detectors_logits_and_pyramid_are_kept_bit_for_bit(tmp_path: Path) -> None:
    source, augment = digit_scenes("boxes", 4, 2), Augment(crop=[48, 56], flip=True)
    torch.manual_seed(0)
    network = Network(cnn(num_classes=10, in_channels=1, width=4, task="detection"))
    cached = CachedTeacher(
        network, TeacherInputs(source, torch.arange(4), augment, epochs=1, batch_size=4), dir=str(tmp_path),
        features=True,
    )  # fmt: skip
    cached.tap(["levels.*", "boxes"])
    data = ImageDataModule(source, batch_size=4, augment=augment)
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader()}
    shown = [replace(batch, split=name) for name, loader in loaders.items() for batch in loader]
    for places, batch in zip((6 * 7 + 3 * 4, 8 * 8 + 4 * 4), shown, strict=True):  # of crops, and of whole scenes
        expected = network(batch.inputs)
        for kept in (cached(batch), cached(batch)):  # asked, then read
            assert kept.logits.shape[1:] == (10, places)
            assert torch.equal(kept.logits, expected.logits)
            names = ("levels.0", "levels.1", "boxes") if batch.split == "train" else ()
            assert all(torch.equal(kept.features[name], expected.features[name]) for name in names)
    assert cached.passes == 2


def test_the_likeliest_classes_of_each_pixel_leave_the_divergence_as_it_is(tmp_path: Path) -> None:
    cached, live = teacher(tmp_path, top_k=10, temperatures=[2.0])  # and the eleventh in the tail
    student = Network(cnn(num_classes=11, in_channels=1, width=2, task="segmentation"))
    module = DistillModule(student, live, KD(temperature=2.0), task=SOURCE.task)
    for batch in batches()[:2]:
        outputs = student(batch.inputs)
        found, expected = (module.method(outputs, asked(batch), batch).total() for asked in (cached, live))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        logits = live(batch).logits
        named = logits.gather(1, cached(batch).likeliest()[:, None])[:, 0]
        assert torch.equal(named, logits.amax(1))  # of equally likely ones, either


@pytest.mark.parametrize(
    ("settings", "row"), [({}, 11 * 4), ({"dtype": "float16"}, 11 * 2), ({"top_k": 2}, 2 * (4 + 1) + 8 * 4)]
)
def test_the_size_of_maps_is_told_before(tmp_path: Path, settings: dict[str, Any], row: int) -> None:
    cached, _ = teacher(tmp_path, **settings)
    training, validation = 48 * 56 * row + 4, 64 * 64 * 11 * 4 + 4
    assert cached.wanted_bytes == 8 * 2 * training + 3 * validation
