"""Batches from memory, and Lightning's part in them."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from distill.data import Augment, ImageDataModule, ImageSource, Split, student_samples
from distill.data.batches import ImageBatches
from distill.data.digits import digits
from distill.data.image_folder import image_folder
from distill.data.module import without_classes
from distill.data.order import Draw, EvaluationOrder, ListedOrder
from distill.data.readers import MemoryReader
from distill.errors import SettingError
from distill.types import Batch


def source(count: int = 50, val: int = 21, classes: int = 5, size: int = 8) -> ImageSource:
    generator = torch.Generator().manual_seed(0)

    def split(number: int) -> Split:
        images = torch.randint(0, 256, (number, 3, size, size), dtype=torch.uint8, generator=generator)
        return Split(images, torch.arange(number) % classes)

    return ImageSource("noise", split(count), split(val), [str(label) for label in range(classes)])


def test_training_batches_are_augmented_and_named() -> None:
    data = ImageDataModule(source(), batch_size=8, augment=Augment(flip=True), seed=3)
    batches = list(data.train_dataloader())
    assert len(batches) == len(data.train_dataloader()) == 6
    for batch in batches:
        assert isinstance(batch, Batch)
        assert batch.inputs.dtype == torch.float32
        assert torch.equal(batch.targets, data.source.train.targets[batch.indices])
        plain = data.source.train.show(batch.indices).float() / 255
        mirrored = (batch.inputs == plain.flip(3)).flatten(1).all(1)
        assert (mirrored | (batch.inputs == plain).flatten(1).all(1)).all()


def test_validation_batches_are_the_split_in_order() -> None:
    data = ImageDataModule(source(), batch_size=2, augment=Augment(crop_padding=2, mixup=1.0))
    batches = list(data.val_dataloader())
    assert [len(batch.inputs) for batch in batches] == [8, 8, 5]
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), data.source.val.images.float() / 255)
    assert torch.equal(torch.cat([batch.targets for batch in batches]), data.source.val.targets)


def test_only_the_given_samples_are_seen_and_mixed() -> None:
    samples = torch.tensor([1, 4, 9, 16, 25, 36])
    data = ImageDataModule(source(), batch_size=3, augment=Augment(mixup=1.0), samples=samples)
    batches = data.train_dataloader()
    assert set(torch.cat([batch.indices for batch in batches]).tolist()) == set(samples.tolist())
    partners = Augment(mixup=1.0).partners(samples, 0, 0, samples)
    assert set(partners.tolist()) <= set(samples.tolist())
    for batch in batches:
        assert batch.targets.shape == (3, 5)
        assert torch.allclose(batch.targets.sum(1), torch.ones(3))
        seen = data.source.train.targets[batch.indices]
        assert (batch.targets.gather(1, seen[:, None]) > 0).all()


@pytest.mark.parametrize(
    "augment", [None, Augment(crop_padding=2, trivial_augment=True), Augment(mixup=0.5, cutmix=0.5)]
)
def test_a_sample_is_a_function_of_seed_epoch_and_index(augment: Augment | None) -> None:
    data = ImageDataModule(source(), batch_size=10, augment=augment, seed=3)
    batches = data.train_dataloader()
    batches.order.set_epoch(4)
    for batch in batches:
        alone = batches.__getitems__(Draw(4, batch.indices[2:3]))
        assert torch.equal(alone.inputs[0], batch.inputs[2])
        assert torch.equal(alone.targets[0], batch.targets[2])


def test_an_example_is_what_a_network_sees() -> None:
    data = ImageDataModule(source())
    assert torch.equal(data.example(3), data.source.train.images[:3].float() / 255)
    assert len(ImageDataModule(source(count=5)).example(9)) == 5


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"batch_size": 0}, "^batch_size=0: must be 1 or more"), ({"workers": -1}, "^workers=-1: must be 0 or more")],
)
def test_settings_out_of_range(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageDataModule(source(), **setting)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01])
def test_a_share_out_of_range(fraction: float) -> None:
    with pytest.raises(ValueError, match=f"^student_fraction={fraction}: must be above 0 and at most 1"):
        student_samples(torch.arange(3), fraction, 0)


def test_the_students_share() -> None:
    targets = digits().train.targets
    samples = student_samples(targets, 0.25, 0)
    assert abs(len(samples) - len(targets) / 4) < 6
    assert torch.equal(samples, student_samples(targets, 0.25, 0))
    assert not torch.equal(samples, student_samples(targets, 0.25, 1))
    assert torch.equal(student_samples(targets, 1.0, 0), torch.arange(len(targets)))


def test_statistics_are_those_of_the_pixels() -> None:
    noise = source()
    mean, std = noise.statistics()
    pixels = noise.train.images.double() / 255
    assert torch.allclose(torch.tensor(mean).double(), pixels.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(torch.tensor(std).double(), pixels.std((0, 2, 3), correction=0), atol=1e-4)
    black = Split(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.arange(2))
    assert ImageSource("black", black, black, ["0", "1"]).statistics() == ([0.0], [0.001])


IMAGES = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
LABELS = torch.arange(4)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(IMAGES.float(), LABELS), "noise: train images are torch.float32"),
        (Split(IMAGES[0], LABELS), "they must be uint8"),
        (Split(IMAGES, LABELS[:3]), "train has 4 images and labels of shape"),
        (Split(IMAGES, LABELS.int()), "labels are torch.int32; they must be int64"),
        (Split(IMAGES[:0], LABELS[:0]), "train split is empty"),
        (Split(IMAGES, LABELS - 1), "labels run from -1 to 2, and there are 4 classes: 0 to 3"),
        (Split(IMAGES, LABELS + 1), "labels run from 1 to 4"),
        (Split(IMAGES[..., :4], LABELS), r"train images are \(3, 8, 4\), val images \(3, 8, 8\)"),
    ],
)
def test_what_is_no_source(split: Split, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ImageSource("noise", split, Split(IMAGES, LABELS), list("abcd"))


class Recorder(pl.LightningModule):
    """Learns nothing worth knowing, and writes down what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)
        self.seen: list[tuple[int, Tensor, Tensor]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.seen.append((self.current_epoch, batch.indices, batch.inputs))
        return nn.functional.cross_entropy(self.layer(batch.inputs.mean((2, 3))), batch.targets)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        assert not self.training
        assert batch.targets.dtype == torch.long

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(module: Recorder, root: Path, epochs: int, data: ImageDataModule, resume: str | None = None) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
        enable_checkpointing=False,
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume)
    return trainer


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # Lightning's use of torch
@pytest.mark.parametrize("stream", [False, True], ids=["memory", "stream"])
def test_a_resumed_run_goes_on_with_the_epoch_that_comes_next(tmp_path: Path, folder: Any, stream: bool) -> None:
    folder("train", {"a": 6, "b": 6})
    folder("val", {"a": 1, "b": 1})

    def data() -> ImageDataModule:
        images = image_folder(str(tmp_path), image_size=8, in_memory=not stream)
        return ImageDataModule(images, batch_size=4, augment=Augment(resized_crop=0.2), seed=1, workers=1)

    whole, first, second = Recorder(), Recorder(), Recorder()
    fit(whole, tmp_path, 3, data())
    trainer = fit(first, tmp_path, 1, data())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    fit(second, tmp_path, 3, data(), str(tmp_path / "last.ckpt"))
    seen = first.seen + second.seen
    assert [epoch for epoch, _, _ in seen] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for (_, indices, images), (_, expected, pictures) in zip(seen, whole.seen, strict=True):
        assert torch.equal(indices, expected)
        assert torch.equal(images, pictures)


def test_of_images_that_are_shown_once_no_copy_is_made_on_the_device() -> None:
    split = Split(torch.zeros(6, 1, 4, 4, dtype=torch.uint8), torch.zeros(6, dtype=torch.long))
    orders = ListedOrder(torch.tensor([1, 3]), 2, epoch=0), EvaluationOrder(6, 2)
    devices = []
    for order in orders:
        reader = ImageBatches(split, order, num_classes=1, device=torch.device("meta")).reader
        assert isinstance(reader, MemoryReader)
        devices.append(reader.images.device.type)
    assert devices == ["cpu", "meta"]


def test_classes_that_the_student_never_sees() -> None:
    targets = torch.tensor([0, 1, 2, 1, 0, 2])
    assert without_classes(torch.tensor([0, 1, 2, 5]), targets, [2]).tolist() == [0, 1]
    with pytest.raises(SettingError, match=r"data.student_without=\[0, 2\]: leaves .* fewer than two classes"):
        without_classes(torch.arange(6), targets, [0, 2])
