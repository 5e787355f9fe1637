"""Streams: the same bytes however they are read, and one message for what cannot be read."""

import logging
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from distill.data import Augment, ImageDataModule, ImageSource, Stream
from distill.data.batches import ImageBatches
from distill.data.image_folder import image_folder
from distill.data.order import EvaluationOrder, TrainingOrder
from distill.errors import SettingError
from distill.types import Batch

MIXED = Augment(resized_crop=0.3, flip=True, color_jitter=0.2, trivial_augment=True, mixup=0.2, cutmix=1.0)


@dataclass(frozen=True)
class Noise:
    """Images made of their index; those in `broken` cannot be read."""

    targets: Tensor
    broken: tuple[int, ...] = ()

    def read(self, index: int) -> Tensor:
        if index in self.broken:
            raise OSError(f"no image {index}\nsecond line")
        generator = torch.Generator().manual_seed(index)
        size = (20 + index % 5, 24 + index % 7)
        return torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)

    def name(self, index: int) -> str:
        return f"noise[{index}]"


def noise(count: int = 37, skip: bool = False, broken: tuple[int, ...] = ()) -> Stream:
    return Stream(Noise(torch.arange(count) % 4, broken), (3, 16, 16), 18, skip)


def epoch_of(
    stream: Stream, epoch: int = 1, augment: Augment | None = MIXED, batch: int = 8, **more: Any
) -> list[Batch]:
    process = more.pop("process", (0, 1))
    order = TrainingOrder(torch.arange(len(stream)), batch, 0, *process)
    order.set_epoch(epoch)
    return list(ImageBatches(stream, order, num_classes=4, augment=augment, seed=7, **more))


def by_index(batches: list[Batch]) -> dict[int, Tensor]:
    return {int(i): image for batch in batches for i, image in zip(batch.indices, batch.inputs, strict=True)}


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other) > 0
    for mine, theirs in zip(one, other, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(tensors(mine), tensors(theirs), strict=True))


def tensors(batch: Batch) -> list[torch.Tensor]:
    """Images, targets and indices."""
    assert isinstance(batch.inputs, torch.Tensor)
    assert batch.indices is not None
    return [batch.inputs, batch.targets, batch.indices]


def joined(parts: Sequence[Batch]) -> Batch:
    """One batch of several."""
    return Batch(*map(torch.cat, zip(*map(tensors, parts), strict=True)))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_nothing(workers: int) -> None:
    stream, order = noise(), TrainingOrder(torch.arange(37), 8, 0)
    batches = ImageBatches(stream, order, num_classes=4, augment=MIXED, seed=7, workers=workers)
    for epoch in (0, 1, 2):
        order.set_epoch(epoch)
        assert_same(list(batches), epoch_of(stream, epoch))


def test_two_processes_see_what_one_sees() -> None:
    alone = epoch_of(noise(), batch=8)
    parts = zip(*(epoch_of(noise(), batch=4, process=(process, 2)) for process in (0, 1)), strict=True)
    together = [joined(part) for part in parts]
    assert_same(alone, together)


def test_epochs_differ() -> None:
    first, second = (by_index(epoch_of(noise(), epoch)) for epoch in (0, 1))
    common = set(first) & set(second)
    assert len(common) > 20
    assert not any(torch.equal(first[index], second[index]) for index in common)


def test_an_iterator_begins_with_the_epoch_that_was_set_last() -> None:
    """Lightning makes the iterator of a resumed run before it sets the epoch."""
    order = TrainingOrder(torch.arange(37), 8, 0)
    batches = ImageBatches(noise(), order, num_classes=4, augment=MIXED, seed=7, workers=1)
    iterator = iter(batches)
    order.set_epoch(5)
    assert_same(list(iterator), epoch_of(noise(), 5))


def test_torchs_own_random_numbers_are_left_alone() -> None:
    state = torch.get_rng_state()
    epoch_of(noise())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_view_of_validation_is_torchvisions() -> None:
    stream = noise()
    reference = v2.Compose([v2.Resize(18, antialias=True), v2.CenterCrop(16)])
    for index in (0, 5, 36):
        assert torch.equal(stream.view(index), reference(stream.source.read(index)))
    batch = next(iter(ImageBatches(stream, EvaluationOrder(37, 4), num_classes=4)))
    assert torch.equal(batch.inputs, stream.show(torch.arange(4)).float() / 255)


def test_a_random_view_shows_less_than_the_whole() -> None:
    stream = noise()
    views = torch.stack([stream.random_view(3, 0.1, 0, epoch) for epoch in range(20)])
    assert views.shape == (20, 3, 16, 16)
    assert len(views.flatten(1).unique(dim=0)) == 20
    flat = replace(stream, source=Flat(torch.zeros(1, dtype=torch.long)))
    assert (flat.random_view(0, 0.1, 0, 0) == 99).all()


@dataclass(frozen=True)
class Flat(Noise):
    def read(self, index: int) -> Tensor:
        return torch.full((3, 50, 1), 99, dtype=torch.uint8)


def test_a_stream_can_be_sent_to_a_process(folder: Any) -> None:
    folder("train", {"a": 2, "b": 2})
    root = folder("val", {"a": 1, "b": 1})
    stream = image_folder(str(root), in_memory=False).train
    copy = pickle.loads(pickle.dumps(stream))
    assert torch.equal(copy.view(1), stream.view(1))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_stops_the_run_with_one_line(workers: int) -> None:
    stream = noise(broken=(3,))
    message = (
        r"^data: noise\[3\] cannot be read \(OSError: no image 3\); mend it or take it away, "
        r"or leave such images out with data.on_error=skip$"
    )
    with pytest.raises(SettingError, match=message):
        list(ImageBatches(stream, EvaluationOrder(37, 8), num_classes=4, workers=workers))
    with pytest.raises(SettingError, match=message):
        stream.show(torch.arange(5))


def test_an_image_of_other_channels_is_named() -> None:
    stream = replace(noise(), shape=(1, 16, 16))
    with pytest.raises(
        SettingError, match=r"noise\[0\] cannot be read \(it is torch.uint8 \(3, 20, 24\), not uint8 \(1, H, W\)"
    ):
        stream.show(torch.arange(1))


def test_skipping_in_training_puts_another_sample_in_its_place(caplog: pytest.LogCaptureFixture) -> None:
    broken = (0, 3, 11, 20)
    stream = noise(skip=True, broken=broken)
    batches = epoch_of(stream)
    assert [len(batch.inputs) for batch in batches] == [8, 8, 8, 8]
    shown = torch.cat([batch.indices for batch in batches])
    assert not set(shown.tolist()) & set(broken)
    whole, rest = by_index(epoch_of(noise())), by_index(batches)
    assert sum(torch.equal(whole[index], rest[index]) for index in set(whole) & set(rest)) > 20
    assert set(stream.unreadable) == {f"noise[{index}]" for index in broken}
    assert stream.unreadable["noise[3]"] == "OSError: no image 3"
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sorted(messages) == sorted(
        f"noise[{i}] cannot be read (OSError: no image {i}) and is left out" for i in broken
    )
    again = epoch_of(noise(skip=True, broken=broken), workers=1)
    assert_same(batches, again)


def test_labels_follow_the_sample_that_was_shown() -> None:
    batches = epoch_of(noise(skip=True, broken=(0, 3, 11)), augment=Augment(flip=True))
    for batch in batches:
        assert torch.equal(batch.targets, batch.indices % 4)


def test_skipping_in_a_look_at_images_shows_the_next() -> None:
    stream = noise(10, skip=True, broken=(1, 8, 9))
    assert torch.equal(stream.show(torch.tensor([0, 1, 9])), stream.show(torch.tensor([0, 2, 0])))


def test_skipping_in_evaluation_leaves_the_sample_out() -> None:
    stream = noise(10, skip=True, broken=(1, 4, 5, 6, 7))
    batches = list(ImageBatches(stream, EvaluationOrder(10, 4), num_classes=4))
    assert [batch.indices.tolist() for batch in batches] == [[0, 2, 3], [8, 9]]
    assert all(torch.equal(batch.targets, batch.indices % 4) for batch in batches)


def test_a_set_that_is_broken_throughout_stops_though_skipping() -> None:
    stream = noise(12, skip=True, broken=tuple(range(12)))
    with pytest.raises(SettingError, match=r"data.on_error=skip: 11 images in a row could not be read"):
        epoch_of(stream, batch=4)
    with pytest.raises(SettingError, match=r"data.on_error=skip: not one of 12 images can be read, e.g. noise\[0\]"):
        stream.show(torch.arange(3))


def test_the_module_counts_what_was_skipped(caplog: pytest.LogCaptureFixture) -> None:
    source = ImageSource("noise", noise(skip=True, broken=(2,)), noise(skip=True, broken=(7,)), list("abcd"))
    module = ImageDataModule(source, batch_size=8, workers=0)
    for _ in range(2):
        list(module.train_dataloader())
        list(module.val_dataloader())
    caplog.clear()
    module.teardown("fit")
    assert caplog.messages == ["2 images could not be read and were left out, e.g. noise[2], noise[7]"]


def test_statistics_of_a_stream_come_from_what_can_be_read() -> None:
    source = ImageSource("noise", noise(skip=True, broken=(0,)), noise(), list("abcd"))
    mean, std = source.statistics()
    assert all(abs(value - 0.5) < 0.01 for value in mean)
    assert all(0.1 < value < 0.3 for value in std)
    assert (source.channels, source.image_size, source.num_classes) == (3, 16, 4)


def test_missing_files_are_named(folder: Any) -> None:
    folder("train", {"a": 3, "b": 3})
    root: Path = folder("val", {"a": 1, "b": 1})
    stream = image_folder(str(root), in_memory=False).train
    (root / "train" / "a" / "001.png").unlink()
    with pytest.raises(SettingError, match=r"001.png cannot be read \(FileNotFoundError"):
        stream.show(torch.arange(6))
