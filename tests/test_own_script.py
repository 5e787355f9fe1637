"""DistillModule in people's own scripts: a plain trainer, their loaders, callbacks, the tuner, checkpoints."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
import yaml
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.tuner import Tuner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from distill import Batch, DistillModule
from distill.methods import CC, CRD, DML, FT, KD, PKT, Composite, FitNet, Method, SimKD, Supervised, TfKD

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
CLASSES = 3


def network(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES),
    )  # fmt: skip


def samples(count: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 1, 8, 8, generator=generator), torch.arange(count) % CLASSES


def loader(count: int = 10) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*samples(count)), batch_size=4)


def make(method: Any = None, **options: Any) -> DistillModule:
    return DistillModule(network(4, seed=1), network(6, seed=2), method, **{"optimizer": SGD, **options})


def trainer(**options: Any) -> pl.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return pl.Trainer(**{"max_epochs": 1, "logger": False, "enable_checkpointing": False, **quiet, **options})


@pytest.fixture(autouse=True)
def _without_advice() -> Iterator[None]:
    """Lightning's advice on numbers of workers and intervals of logging; what comes from elsewhere is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        yield


# --------------------------------------------------------------------------------------------- the trainer's methods


def test_validate_test_and_predict() -> None:
    module = make()
    run = trainer(num_sanity_val_steps=2)
    run.fit(module, loader(), loader(7))
    (validated,) = run.validate(module, loader(7), verbose=False)
    (tested,) = run.test(module, loader(7), verbose=False)
    images, targets = samples(7)
    with torch.no_grad():
        answers, taught = module.eval()(images), module.teacher(Batch(images, targets)).logits
    expected = {
        "accuracy": float((answers.argmax(1) == targets).float().mean()),
        "agreement": float((answers.argmax(1) == taught.argmax(1)).float().mean()),
        "ce": float(F.cross_entropy(answers, targets)),
        "kl": float(F.kl_div(answers.log_softmax(1), taught.softmax(1), reduction="batchmean")),
    }
    assert tested == pytest.approx({f"test/{name}": value for name, value in expected.items()})
    assert validated == pytest.approx({f"val/{name}": value for name, value in expected.items()})
    predicted = run.predict(module, loader(7))
    assert predicted is not None
    torch.testing.assert_close(torch.cat(predicted), answers)  # type: ignore[arg-type]
    alone = run.predict(module, DataLoader(images, batch_size=4))  # type: ignore[arg-type]
    assert alone is not None
    torch.testing.assert_close(torch.cat(alone), answers)  # type: ignore[arg-type]


def test_a_trained_module_answers_and_their_own_network_has_the_weights() -> None:
    mine = network(4, seed=1)
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    module = DistillModule(mine, network(6, seed=2), optimizer=SGD)
    trainer().fit(module, loader())
    assert module.student.backbone is mine
    assert not torch.equal(mine.state_dict()["7.weight"], before["7.weight"])
    images, _ = samples()
    module.eval()
    torch.testing.assert_close(module(images), mine(images))
    as_bytes = (images * 255).round().to(torch.uint8)
    torch.testing.assert_close(module(as_bytes), mine(as_bytes.float() / 255))


class Steps(pl.Callback):
    """How many steps the optimizer has made by the end of each batch."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.steps.append(trainer.global_step)


def test_accumulated_gradients_callbacks_and_going_on(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    best = ModelCheckpoint(tmp_path / "best", monitor="val/accuracy", mode="max", save_last=True)
    stop = EarlyStopping("val/accuracy", mode="max", patience=5)
    options = {"accumulate_grad_batches": 2, "log_every_n_steps": 1, "enable_checkpointing": True}
    steps, module = Steps(), make()
    run = trainer(max_epochs=2, logger=logger, callbacks=[best, stop, steps], **options)
    run.fit(module, loader(16), loader(7))
    assert steps.steps == [0, 1, 1, 2, 2, 3, 3, 4]
    lines = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    logged = [row for row in rows if row["step/loss"]]
    assert [row["step"] for row in logged] == ["1", "2", "3", "4"]
    first, second = (sum(float(row["step/loss"]) for row in logged[at : at + 2]) / 2 for at in (0, 2))
    assert [first, second] == pytest.approx([epoch["train/loss"] for epoch in module.history], rel=1e-5)
    assert Path(best.best_model_path).is_file()
    assert float(best.best_model_score) == max(epoch["val/accuracy"] for epoch in module.history)  # type: ignore[arg-type]

    again = make()
    trainer(max_epochs=3, **options, callbacks=[ModelCheckpoint(tmp_path / "again")]).fit(
        again, loader(16), loader(7), ckpt_path=tmp_path / "best" / "last.ckpt"
    )
    assert [epoch["epoch"] for epoch in again.history] == [1, 2, 3]
    assert again.history[:2] == module.history


def test_a_checkpoint_holds_plain_hyperparameters_and_gives_the_module_back(tmp_path: Path) -> None:
    module = make(KD(temperature=2.5), seed=5)
    run = trainer(logger=CSVLogger(tmp_path))
    run.fit(module, loader())
    run.save_checkpoint(tmp_path / "mine.ckpt")
    kd = {"name": "KD", "temperature": 2.5, "weight": 0.9, "label_weight": 0.1, "reduction": "batchmean",
          "log_target": True}  # fmt: skip
    plain = {"method": kd, "optimized_by": {"name": "SGD", "lr": 0.1, "momentum": 0.9}, "seed": 5}
    saved = torch.load(tmp_path / "mine.ckpt", weights_only=True)
    assert saved["hyper_parameters"] == dict(module.hparams) == plain
    assert yaml.safe_load((Path(run.logger.log_dir) / "hparams.yaml").read_text()) == plain  # type: ignore[union-attr]
    again = DistillModule.load_from_checkpoint(
        tmp_path / "mine.ckpt", student=network(4, seed=8), teacher=network(6, seed=2)
    )
    assert (again.method.temperature, again.seed, again.history) == (2.5, 5, module.history)
    assert torch.equal(again.eval()(samples()[0]), module.eval()(samples()[0]))


@pytest.mark.parametrize(
    "method",
    [[KD(), FitNet(["4"], ["4"])], {"logits": KD(temperature=2), "maps": FitNet(["4"], ["4"])}, FitNet(["4"], ["4"])],
    ids=["list", "dict", "one"],
)
def test_several_methods_and_what_they_create_come_back_too(method: Any, tmp_path: Path) -> None:
    example = samples()[0][:2]
    module = make(method, example=example)
    run = trainer()
    run.fit(module, loader())
    run.save_checkpoint(tmp_path / "mine.ckpt")
    networks = {"student": network(4, seed=8), "teacher": network(6, seed=2)}
    again = DistillModule.load_from_checkpoint(tmp_path / "mine.ckpt", **networks, example=example)
    assert again.method.state_dict().keys() == module.method.state_dict().keys()
    assert type(again.method) is type(module.method)
    assert again.hparams["method"] == module.hparams["method"]
    with pytest.raises(ValueError, match="example=None: method FitNet needs"):
        DistillModule.load_from_checkpoint(tmp_path / "mine.ckpt", **networks)


def test_a_list_is_a_composite() -> None:
    module = make([KD(), KD(temperature=1), PKT(["5"], ["5"])])
    assert isinstance(module.method, Composite)
    assert list(module.method.methods) == ["kd", "kd2", "pkt"]
    trainer().fit(module, loader())
    assert {"train/ce", "train/kd", "train/pkt"} <= set(module.history[0])
    with pytest.raises(ValueError, match=r"method=\[\]: give at least one method"):
        make([])


def test_a_method_of_ones_own_is_asked_for_when_it_is_loaded(tmp_path: Path) -> None:
    class Mine(KD):
        pass

    run, module = trainer(), make(Mine())
    run.fit(module, loader())
    run.save_checkpoint(tmp_path / "mine.ckpt")
    networks = {"student": network(4, seed=8), "teacher": network(6, seed=2)}
    with pytest.raises(ValueError, match=r"method=Mine: is none of distill\.methods; pass the method itself"):
        DistillModule.load_from_checkpoint(tmp_path / "mine.ckpt", **networks)
    assert type(DistillModule.load_from_checkpoint(tmp_path / "mine.ckpt", **networks, method=Mine()).method) is Mine


# ----------------------------------------------------------------------------------------------------------- batches


@dataclass
class StageStats:
    """A data set's own type of batch."""

    pixels: Tensor
    classes: Tensor


def collated(make: Callable[[Tensor, Tensor], Any]) -> DataLoader[Any]:
    def collate(items: list[tuple[Tensor, Tensor]]) -> Any:
        images, targets = zip(*items, strict=True)
        return make(torch.stack(images), torch.stack(targets))

    return DataLoader(TensorDataset(*samples()), batch_size=4, collate_fn=collate)


FORMS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "list": lambda x, y: [x, y],
    "dict": lambda x, y: {"image": x, "label": y},
    "hugging face": lambda x, y: {"pixel_values": x, "labels": y},
    "with indices": lambda x, y: (x, y, torch.arange(len(x), dtype=torch.int32)),
    "int32": lambda x, y: (x, y.int()),
    "uint8": lambda x, y: (x, y.to(torch.uint8)),
    "columns": lambda x, y: (x, y[:, None]),
    "uint8 columns in a dict": lambda x, y: {"img": x, "target": y[:, None].to(torch.uint8)},
}


@pytest.fixture(scope="module")
def expected() -> list[dict[str, float]]:
    module = make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer().fit(module, loader(), loader())
    return module.history


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_batch_trains_alike(form: str, expected: list[dict[str, float]]) -> None:
    module = make()
    trainer().fit(module, collated(FORMS[form]), collated(FORMS[form]))
    assert module.history == expected


def test_an_adapter_makes_a_batch_of_anything(expected: list[dict[str, float]]) -> None:
    module = make(adapt=lambda record: Batch(record.pixels, record.classes))
    run = trainer()
    run.fit(module, collated(StageStats), collated(StageStats))
    assert module.history == expected
    assert len(torch.cat(run.predict(module, collated(StageStats)))) == 10  # type: ignore[arg-type]


def test_images_of_bytes_are_images_in_0_1() -> None:
    images = (samples()[0] * 255).round()
    losses = [
        make(DML()).eval().training_step((shown, samples()[1]), 0).item()
        for shown in (images.to(torch.uint8), images / 255)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (StageStats, r"a batch is a StageStats, in which images and targets were not found"),
        (lambda x, y: {"x": x, "y": y}, r"a dict with 'x', 'y', in which images and targets were not found"),
        (lambda x, y: (x, y, [f"{n}.png" for n in y]), r"a tuple of \(Tensor, Tensor, list\), whose third item"),
        (lambda x, y: (x, y, x.mean((1, 2, 3))), r"whose third item isn't the samples' indices"),
        (lambda x, y: (x, y.float()), r"the targets of a batch are float32 of shape \(4,\); must be integers, or"),
        (lambda x, y: (x, y.float()[:, None]), r"float32 of shape \(4, 1\); must be integers, or"),
        (lambda x, y: x, r"a batch is float32 of shape \(4, 1, 8, 8\), in which images and targets were not found"),
        (lambda x, y: {"image": x, "img": x, "label": y}, r"in which images and targets were not found"),
    ],
)
def test_a_batch_that_is_not_understood_names_the_adapter(form: Callable[..., Any], said: str) -> None:
    with pytest.raises(ValueError, match=said + r".*: pass DistillModule\(\.\.\., adapt=\.\.\.\), a function"):
        trainer().fit(make(), collated(form))


# ---------------------------------------------------------------------------------------------- what is asked for


NEEDING = (FitNet(["4"], ["4"]), FT(), SimKD(), CC())


@pytest.mark.parametrize("method", NEEDING, ids=lambda method: type(method).__name__)
def test_an_example_is_asked_for_by_name(method: Method) -> None:
    asked = f"example=None: method {type(method).__name__} needs a few images"
    with pytest.raises(
        ValueError, match=rf"{asked} .*; pass DistillModule\(\.\.\., example=next\(iter\(loader\)\)\[0\]"
    ):
        make(method)
    with pytest.raises(ValueError, match=asked):
        make([KD(), method])
    module = make(type(method)(["4"], ["4"]), example=next(iter(loader()))[0])
    trainer().fit(module, loader())


def test_layers_by_word_ask_for_an_example_and_by_path_do_not() -> None:
    with pytest.raises(ValueError, match="example=None: method PKT needs a few images to find the layers 'embedding'"):
        make(PKT())
    trainer().fit(make(CC(["5"], ["5"], form="gaussian")), loader())


class Indexed(Dataset[tuple[Tensor, Tensor, int]]):
    targets = samples()[1].tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        return samples()[0][index], samples()[1][index], index


def test_labels_are_asked_for_by_name() -> None:
    data, example = Indexed(), samples()[0]
    method = partial(CRD, ["5"], ["5"], negatives=4)
    with pytest.raises(ValueError, match=r"labels=None: method CRD .*labels=torch\.as_tensor\(dataset\.targets\)"):
        make(method(), example=example)
    module = make(method(), example=example, labels=data.targets)
    trainer().fit(module, DataLoader(data, batch_size=4))
    assert module.history[0]["train/crd"] > 0
    with pytest.raises(ValueError, match=r"crd: batch\.indices is None.*the loader give \(images, targets, indices\)"):
        trainer().fit(make(method(), example=example, labels=data.targets), loader())


def test_a_teacher_is_asked_for_by_name() -> None:
    with pytest.raises(ValueError, match=r"teacher=None was given; pass DistillModule\(student, teacher, \.\.\.\), or"):
        DistillModule(network(4, seed=1), method=[KD()])
    assert isinstance(DistillModule(network(4, seed=1), method=Supervised()).method, Supervised)
    trainer().fit(DistillModule(network(4, seed=1), method=[DML(), TfKD()]), loader())


# ----------------------------------------------------------------------------------------------------------- tuning


def test_the_learning_rate_finder_sets_what_training_then_uses(tmp_path: Path) -> None:
    module = make()
    run = trainer(default_root_dir=tmp_path, max_epochs=8)
    found = Tuner(run).lr_find(module, loader(), num_training=20, update_attr=True)
    assert found is not None
    assert module.learning_rate == found.suggestion() != 0.1
    assert module.history == []
    run.fit(module, loader())
    assert module.history[0]["train/learning_rate"] == pytest.approx(module.learning_rate)


def test_rates_that_diverge_do_not_end_the_search(tmp_path: Path) -> None:
    module = make()
    run = trainer(default_root_dir=tmp_path, max_epochs=8)
    found = Tuner(run).lr_find(
        module, loader(), max_lr=1e30, num_training=20, early_stop_threshold=None, update_attr=True
    )
    assert found is not None
    assert not torch.tensor(found.results["loss"]).isfinite().all()


def test_rates_of_parts_keep_their_ratio() -> None:
    def by_part(parameters: Any) -> torch.optim.Optimizer:
        first, *others = parameters
        return torch.optim.SGD([{"params": [first], "lr": 0.02}, {"params": others}], lr=0.1)

    module = make(optimizer=by_part)
    module.learning_rate = 0.5
    run = trainer()
    run.fit(module, loader())
    assert [group["lr"] for group in run.optimizers[0].param_groups] == pytest.approx([0.1, 0.5])


# ------------------------------------------------------------------------------------------------- modes, history


class Modes(pl.Callback):
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.seen = {name: part.training for name, part in pl_module.student.backbone.named_modules()}


def modes_in_training(student: nn.Module, *, teacher: bool, **options: Any) -> Mapping[str, bool]:
    watch = Modes()
    module = DistillModule(student, network(6, seed=2) if teacher else None, optimizer=SGD, **options)
    trainer(callbacks=[watch]).fit(module, loader(), loader())
    return watch.seen


@pytest.mark.parametrize("example", [None, samples()[0]], ids=["without example", "with example"])
def test_baseline_and_student_train_in_training_mode_however_they_come(example: Tensor | None) -> None:
    for teacher in (False, True):
        seen = modes_in_training(network(4, seed=1).eval(), teacher=teacher, example=example)
        assert all(seen.values()), f"{teacher=}"


def frozen_statistics() -> nn.Module:
    """A network in training mode but for its BatchNorm."""
    mine = network(4, seed=1)
    mine[1].eval()
    return mine


def frozen_layers() -> nn.Module:
    """A network in evaluation mode, with parameters that aren't trained."""
    mine = network(4, seed=1).eval()
    mine[0].requires_grad_(False)
    mine[1].requires_grad_(False)
    return mine


@pytest.mark.parametrize("teacher", [False, True])
@pytest.mark.parametrize("example", [None, samples()[0]], ids=["without example", "with example"])
@pytest.mark.parametrize(("mine", "frozen"), [(frozen_statistics, ["1"]), (frozen_layers, ["0", "1"])])
def test_what_is_frozen_on_purpose_stays_in_evaluation_mode(
    mine: Callable[[], nn.Module], frozen: list[str], example: Tensor | None, teacher: bool
) -> None:
    seen = modes_in_training(mine(), teacher=teacher, example=example)
    assert [name for name, training in seen.items() if not training] == frozen


@pytest.mark.parametrize("asked", [lambda module: module, lambda module: module.student.backbone])
def test_a_module_that_was_asked_in_between_trains_on(asked: Callable[[DistillModule], nn.Module]) -> None:
    module, watch = make(), Modes()
    asked(module).eval()
    trainer(callbacks=[watch]).fit(module, loader())
    assert all(watch.seen.values())
    assert not any(part.training for part in module.teacher.modules())


def test_history_has_validation_where_there_was_one() -> None:
    module = make()
    trainer(max_epochs=4, check_val_every_n_epoch=2).fit(module, loader(), loader(7))
    assert ["val/accuracy" in epoch for epoch in module.history] == [False, True, False, True]
    assert all("train/accuracy" in epoch for epoch in module.history)


def test_training_accuracy_is_that_of_what_is_deployed() -> None:
    module = make(SimKD(["4"], ["4"]), example=samples()[0])
    trainer().fit(module, loader(), loader())
    assert "train/accuracy" not in module.history[0]
    assert "val/accuracy" in module.history[0]
