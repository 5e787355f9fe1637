"""A teacher that remembers: what it asks, what it keeps, and when it makes another cache."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from distill import DistillModule, Network
from distill.data import ImageDataModule, ImageSource, Split
from distill.data.arrays import Rows
from distill.data.augment import Augment
from distill.data.stream import Stream
from distill.errors import SettingError
from distill.experiment.cache_commands import main
from distill.methods import AT, DKD, KD, Composite, Method
from distill.models.cnn import cnn
from distill.schedules import Ramp
from distill.teachers import CachedTeacher, LiveTeacher, Teacher, TeacherInputs, fingerprint
from distill.teachers.array_file import ArrayFile
from distill.teachers.store import AnswerTable, stores

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
]

EPOCHS, BATCH = 3, 16
MIXED = Augment(crop_padding=1, flip=True, mixup=0.4, cutmix=0.4)
PLAIN = Augment()


def source(count: int = 90, seed: int = 0) -> ImageSource:
    pixels = torch.randint(
        0, 256, (count + 20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    targets = torch.arange(count + 20) % 10
    names = [str(number) for number in range(10)]
    return ImageSource("noise", Split(pixels[:count], targets[:count]), Split(pixels[count:], targets[count:]), names)


SOURCE = source()


def network(width: int = 8, seed: int = 1) -> Network:
    torch.manual_seed(seed)
    return Network(cnn(num_classes=10, in_channels=1, width=width), name=f"cnn{width}", mean=[0.5], std=[0.3])


def inputs(augment: Augment = PLAIN, **settings: Any) -> TeacherInputs:
    given: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, **settings}
    return TeacherInputs(SOURCE, torch.arange(80), augment, **given)


def cached(directory: Path, augment: Augment = PLAIN, *, replay: int | None = None, **settings: Any) -> CachedTeacher:
    return CachedTeacher(network(), inputs(augment, replay=replay), dir=str(directory), **settings)


def train(
    teacher: Teacher,
    augment: Augment = PLAIN,
    method: Method | None = None,
    *,
    seed: int = 0,
    replay: int | None = None,
    epochs: int = EPOCHS,
    **settings: Any,
) -> list[torch.Tensor]:
    """The weights of a student after training."""
    data = ImageDataModule(
        SOURCE, batch_size=BATCH, augment=augment, seed=seed, augment_seed=0, replay=replay, samples=torch.arange(80)
    )
    given: dict[str, Any] = {"accelerator": "cpu", "max_epochs": epochs, **settings}
    trainer = pl.Trainer(
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **given,
    )
    student = network(4, seed)
    optimizer = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
    module = DistillModule(student, teacher, method or KD(), optimizer=optimizer, example=data.example(), seed=seed)
    trainer.fit(module, datamodule=data)
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("augment", "replay"), [(PLAIN, None), (MIXED, None), (MIXED, 2)])
def test_weights_are_those_of_the_live_run_bit_for_bit(tmp_path: Path, augment: Augment, replay: int | None) -> None:
    live = train(LiveTeacher(network()), augment, replay=replay)
    first, second = (cached(tmp_path, augment, replay=replay, validate=0) for _ in range(2))
    assert same(live, train(first, augment, replay=replay))
    epochs = 1 if augment == PLAIN else replay or EPOCHS
    # All training batches of the distinct epochs, and one of validation.
    assert first.passes == epochs * 5 + 1
    assert same(live, train(second, augment, replay=replay))
    assert second.passes == 0
    assert not same(live, train(cached(tmp_path, augment, replay=replay), augment, seed=1, replay=replay))


def test_replay_shows_the_same_images_again() -> None:
    data = ImageDataModule(SOURCE, batch_size=10, augment=MIXED, replay=2, samples=torch.arange(80))
    loader = data.train_dataloader()
    shown = []
    for epoch in range(4):
        loader.order.set_epoch(epoch)
        shown.append({int(i): image for batch in loader for i, image in zip(batch.indices, batch.inputs, strict=True)})
    assert all(torch.equal(shown[0][i], shown[2][i]) and torch.equal(shown[1][i], shown[3][i]) for i in shown[0])
    assert not all(torch.equal(shown[0][i], shown[1][i]) for i in shown[0])


@pytest.mark.parametrize("settings", [{"dtype": "float16"}, {"dtype": "bfloat16", "top_k": 3}, {"top_k": 3}])
def test_the_run_that_fills_learns_what_later_runs_learn(tmp_path: Path, settings: dict[str, Any]) -> None:
    first, second = (cached(tmp_path, MIXED, **settings) for _ in range(2))
    assert same(train(first, MIXED), train(second, MIXED))
    assert first.passes
    assert second.passes == 0


def test_top_k_of_all_classes_teaches_as_all_logits_do(tmp_path: Path) -> None:
    full, top = train(cached(tmp_path)), train(cached(tmp_path, top_k=10))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(full, top, strict=True))
    assert not all(torch.allclose(a, b, atol=1e-4) for a, b in zip(full, train(cached(tmp_path, top_k=1)), strict=True))


def test_autocast_answers_are_kept_as_they_were(tmp_path: Path) -> None:
    settings = {"precision": "bf16-mixed", "epochs": 1}
    live = train(LiveTeacher(network()), **settings)
    teachers = [CachedTeacher(network(), inputs(precision="bf16-mixed"), dir=str(tmp_path)) for _ in range(2)]
    assert same(live, train(teachers[0], **settings))
    assert same(live, train(teachers[1], **settings))
    assert teachers[1].passes == 0


def test_features_are_kept_on_request(tmp_path: Path) -> None:
    def method() -> Method:
        return Composite({"kd": KD(), "at": AT(student_layers=["stages"], teacher_layers=["stages"])})

    live = train(LiveTeacher(network()), MIXED, method())
    first, second = (cached(tmp_path, MIXED, features=True) for _ in range(2))
    assert same(live, train(first, MIXED, method()))
    assert same(live, train(second, MIXED, method()))
    assert second.passes == 0
    with pytest.raises(SettingError, match=r"teaching.features=false: AT needs layers .*teaching.features=true"):
        cached(tmp_path).check(method())


def test_an_interrupted_run_is_completed(tmp_path: Path) -> None:
    train(cached(tmp_path, MIXED), MIXED, limit_train_batches=2, epochs=1)
    (store,) = stores(tmp_path)
    assert store.table("train", 0).written().sum() == 2 * BATCH
    teacher = cached(tmp_path, MIXED, validate=80)
    assert same(train(LiveTeacher(network()), MIXED), train(teacher, MIXED))
    assert teacher.passes == EPOCHS * 5 - 2
    assert [table.written().sum() for table in store.tables()] == [80, 80, 80, 20]


def test_a_damaged_answer_is_asked_for_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = train(cached(tmp_path))
    (store,) = stores(tmp_path)
    file = store.directory / "train" / "epoch0000" / "000.logits.npy"
    with file.open("r+b") as opened:
        opened.seek(128 + 40 * 33)
        opened.write(b"\xff\xff\x7f\x7f")
    teacher = cached(tmp_path)
    assert same(live, train(teacher))
    assert teacher.passes == 1
    assert main(["verify", "--dir", str(tmp_path)]) == 0
    with file.open("r+b") as opened:
        opened.seek(128 + 40 * 33)
        opened.write(b"\xff\xff\x7f\x7f")
    assert main(["verify", "--dir", str(tmp_path)]) == 1
    assert "1 damaged" in capsys.readouterr().out
    assert store.table("train", 0).written().sum() == 79


def test_training_goes_on_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live, write = train(LiveTeacher(network())), ArrayFile.write
    written, warned = [], []

    def full(self: ArrayFile, rows: Any, values: Any) -> None:
        if len(written) > 3:
            raise OSError(28, "No space left on device")
        written.append(rows)
        write(self, rows, values)

    monkeypatch.setattr(ArrayFile, "write", full)
    monkeypatch.setattr(
        logging.getLogger("distill.teachers.cached"), "warning", lambda text, *values: warned.append(text % values)
    )
    teacher = cached(tmp_path)
    assert same(live, train(teacher))
    assert [text for text in warned if "No space left on device" not in text] == []
    assert len(warned) == 1
    assert not teacher.keeping
    monkeypatch.setattr(ArrayFile, "write", write)
    assert same(live, train(cached(tmp_path, validate=80)))


def test_the_next_epoch_is_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        AnswerTable, "read_ahead", lambda self: asked.append(str(self.directory.relative_to(tmp_path))[17:])
    )
    teacher = cached(tmp_path, MIXED, replay=2)
    for split, epoch in (("train", 0), ("val", 0), ("train", 0), ("train", 1), ("val", 0), ("train", 2)):
        teacher.open().for_epoch(split, epoch)  # type: ignore[arg-type]
        assert [place for place in teacher.open().mapped if place[0] == "train"] == [("train", 0), ("train", 1)]
    train, val = ["train/epoch0000", "train/epoch0001"], ["val/epoch0000"]
    assert asked == [*train, *val, *train, *train[::-1], *val, train[0]]
    longer = cached(tmp_path, MIXED)
    for epoch in range(EPOCHS):
        longer.open().for_epoch("train", epoch)
        assert list(longer.open().mapped) == [("train", e) for e in ([0, 1], [1, 2], [1, 2])[epoch]]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"teaching.dir=.*file: cannot be written"):
        cached(tmp_path / "file").open()
    with pytest.raises(SettingError, match=r"teaching.dir=.*file: cannot be written"):
        cached(tmp_path / "file").check(KD())  # before anything is trained


def _key(teacher: CachedTeacher) -> str:
    teacher.validate = 0
    teacher.open()
    return teacher.open().store.directory.name


def _moved() -> Network:
    moved = network()
    next(moved.parameters()).data[0] += 1e-6
    return moved


def _normalised() -> Network:
    torch.manual_seed(1)
    return Network(cnn(num_classes=10, in_channels=1, width=8), name="cnn8", mean=[0.4], std=[0.3])


def _resized() -> Network:
    torch.manual_seed(1)
    return Network(cnn(num_classes=10, in_channels=1, width=8), name="cnn8", mean=[0.5], std=[0.3], size=16)


def _another_image() -> TeacherInputs:
    other = inputs()
    other.source = source()
    other.source.train.images[3, 0, 0, 0] ^= 1
    return other


OTHERS: dict[str, Callable[[Path], CachedTeacher]] = {
    "weights": lambda d: CachedTeacher(_moved(), inputs(), dir=str(d)),
    "statistics": lambda d: CachedTeacher(_normalised(), inputs(), dir=str(d)),
    "size": lambda d: CachedTeacher(_resized(), inputs(), dir=str(d)),
    "data": lambda d: CachedTeacher(network(), _another_image(), dir=str(d)),
    "augmentation": lambda d: cached(d, Augment(flip=True)),
    "its seed": lambda d: CachedTeacher(network(), inputs(Augment(flip=True), seed=1), dir=str(d)),
    "dtype": lambda d: cached(d, dtype="float16"),
    "top_k": lambda d: cached(d, top_k=3),
    "temperatures": lambda d: cached(d, top_k=3, temperatures=[1, 7]),
    "precision": lambda d: CachedTeacher(network(), inputs(precision="bf16-mixed"), dir=str(d)),
}


def test_whatever_changes_an_answer_makes_another_cache(tmp_path: Path) -> None:
    keys = {name: _key(make(tmp_path)) for name, make in OTHERS.items()} | {"as it was": _key(cached(tmp_path))}
    assert len(set(keys.values())) == len(keys)


def test_what_does_not_change_an_answer_shares_the_cache(tmp_path: Path) -> None:
    longer = CachedTeacher(
        network(), TeacherInputs(SOURCE, torch.arange(50), seed=5, epochs=9, batch_size=7), dir=str(tmp_path)
    )
    renamed = network()
    renamed.name = "another"
    assert len({_key(cached(tmp_path)), _key(longer), _key(CachedTeacher(renamed, inputs(), dir=str(tmp_path)))}) == 1


def test_answers_that_the_teacher_does_not_give_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(cached(tmp_path), epochs=1)
    impostor = cached(tmp_path)
    forward = impostor.network.backbone.forward
    monkeypatch.setattr(impostor.network.backbone, "forward", lambda images: forward(images) + 1.0)
    with pytest.raises(
        SettingError, match=r"answers in \w+ are not what the teacher says now; delete them with .* prune"
    ):
        train(impostor)


@pytest.mark.parametrize(
    ("settings", "method", "message"),
    [
        ({"top_k": 3}, DKD(), r"teaching.top_k=3: DKD needs all logits"),
        ({"top_k": 3}, KD(temperature=7), r"teaching.temperatures=\[1, .*\]: the temperature of KD is 7"),
        ({"top_k": 3}, "standardized", r"teaching.top_k=3: KD standardises logits"),
        ({"top_k": 3}, "scheduled", r"teaching.top_k=3: the temperature of KD moves"),
        (
            {"max_gb": 1e-9},
            KD(),
            r"teaching.max_gb=1e-09: .*4.4 kB for 80 samples, all logits of 10 classes in float32",
        ),
    ],
)
def test_what_is_not_kept_is_told_before_training(
    tmp_path: Path, settings: dict[str, Any], method: Method | str, message: str
) -> None:
    if isinstance(method, str):
        kd = KD()
        kd.standardize_logits = method == "standardized"
        kd.schedules = {"temperature": Ramp(until=0.5)} if method == "scheduled" else {}
        method = kd
    with pytest.raises(SettingError, match=message):
        cached(tmp_path, **settings).check(method)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "settings",
    [{"top_k": 0}, {"top_k": 11}, {"temperatures": []}, {"temperatures": [0.0]}, {"max_gb": 0}, {"validate": -1}],
)
def test_settings_out_of_range_are_named(tmp_path: Path, settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name}="):
        cached(tmp_path, **settings)


def test_size_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(cached(tmp_path, MIXED, top_k=3, dtype="float16"), MIXED, epochs=1)
    told = capsys.readouterr().out
    assert "11.7 kB for 80 samples x 3 epochs, top-3 of 10 classes in float16" in told
    assert "0% are there" in told


def test_list_and_prune(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(cached(tmp_path), epochs=1)
    train(cached(tmp_path, top_k=3), epochs=1)
    main(["list", "--dir", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "top 3 of 10, float32" in shown
    assert shown.count("cnn8") == 2
    with pytest.raises(SettingError, match="say which caches"):
        main(["prune", "--dir", str(tmp_path)])
    with pytest.raises(SettingError, match="zzz: no such cache"):
        main(["prune", "zzz", "--dir", str(tmp_path)])
    main(["prune", "--unused-days", "1", "--dir", str(tmp_path)])
    latest, other = stores(tmp_path)
    main(["prune", other.directory.name, "--dir", str(tmp_path)])
    assert [store.directory for store in stores(tmp_path)] == [latest.directory]
    main(["prune", "--unused-days", "0", "--dir", str(tmp_path)])
    assert not list(tmp_path.iterdir())
    with pytest.raises(SettingError, match="no such directory"):
        main(["list", "--dir", str(tmp_path / "nowhere")])


def test_a_change_of_a_file_changes_the_fingerprint_of_a_stream(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1), dtype=np.uint8)
    np.save(tmp_path / "train_images.npy", images)

    def stream() -> Stream:
        mapped = np.load(tmp_path / "train_images.npy", mmap_mode="r")
        return Stream(Rows(mapped, torch.arange(300) % 10, "train_images"), (1, 8, 8), resize=8)

    before = fingerprint.split(stream())
    assert fingerprint.split(stream()) == before
    images[7] ^= 1  # not one of the images that are looked at
    np.save(tmp_path / "train_images.npy", images)
    assert fingerprint.split(stream()) != before


def test_a_change_of_the_decoding_changes_the_fingerprint_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(np.zeros((9, 8, 8, 1), np.uint8), torch.arange(9), "train_images")
    stream, split = Stream(rows, (1, 8, 8), resize=8), Split(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), rows.targets)
    before = fingerprint.split(stream), fingerprint.split(split)
    monkeypatch.setattr(fingerprint, "_sources", str)  # as of other source files
    assert fingerprint.split(stream) != before[0]
    assert fingerprint.split(split) == before[1]
