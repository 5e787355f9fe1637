"""The training step, with a plain Lightning trainer."""

import copy
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from distill import Batch, DistillModule, LiveTeacher, Network, Outputs
from distill.methods import KD, FitNet, Method, Supervised
from distill.schedules import MultiStep, Ramp

README = Path(__file__).parents[2] / "README.md"
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
Pair = tuple[Tensor, Tensor]


def student(classes: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout(0.3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )


def teacher(classes: int = 3) -> nn.Module:
    """Everything in it that training mode would change."""
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, classes),
    )  # fmt: skip


def samples(count: int = 10, classes: int = 3) -> Pair:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 1, 8, 8, generator=generator), torch.arange(count) % classes


def loader(count: int = 10, batch_size: int = 4) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*samples(count)), batch_size=batch_size)


def fit(module: DistillModule, epochs: int = 1, ckpt_path: Path | None = None, **options: Any) -> pl.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    plain = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_epochs=epochs, **{**quiet, **plain, **options})
    trainer.fit(module, loader(), loader(7), ckpt_path=ckpt_path, weights_only=True)
    return trainer


def make(
    method: Method | None = None, *, taught_by: nn.Module | None = None, seed: int = 1, **options: Any
) -> DistillModule:
    torch.manual_seed(seed)
    given = {"optimizer": SGD, **options}
    return DistillModule(student(), taught_by or teacher(), method, **given)


# ------------------------------------------------------------------------------------------------------ the teacher


def test_the_teacher_stays_bit_for_bit_as_it_was() -> None:
    network = teacher()
    before = copy.deepcopy(network.state_dict())
    module = make(taught_by=network)
    fit(module, epochs=2)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())


def test_the_teacher_is_in_evaluation_mode_whatever_is_called() -> None:
    module = make()
    images, targets = samples()
    for call in (module.train, module.teacher.train, lambda: fit(module), lambda: module.train(True)):
        call()
        assert not any(part.training for part in module.teacher.modules())
        with torch.enable_grad():
            first, second = (module.teacher(Batch(images, targets)).logits for _ in range(2))
        assert torch.equal(first, second)  # no dropout
        assert not first.requires_grad
    assert module.student.training


def test_the_teacher_is_in_no_optimizer_and_no_checkpoint(tmp_path: Path) -> None:
    module = make()
    trainer = fit(module)
    mine = {id(p) for p in module.student.parameters()}
    (optimizer,) = trainer.optimizers
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == mine
    assert {id(p) for p in module.parameters()} == mine
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    expected = {f"student.backbone.{name}" for name in student().state_dict()}
    assert set(module.state_dict()) == set(saved["state_dict"]) == expected


def test_the_teacher_moves_with_the_module() -> None:
    module = make().to(torch.float64)
    assert {t.dtype for t in module.teacher.state_dict().values() if t.is_floating_point()} == {torch.float64}
    module.to("meta")
    assert {t.device.type for t in module.teacher.state_dict().values()} == {"meta"}
    assert {t.device.type for t in module.state_dict().values()} == {"meta"}


def test_a_teacher_may_be_a_module_a_network_or_a_teacher() -> None:
    network = Network(teacher())
    for given in (network.backbone, network, LiveTeacher(network)):
        module = make(taught_by=given)
        assert isinstance(module.teacher, LiveTeacher)
        assert torch.equal(module.teacher(Batch(*samples())).logits, network(samples()[0]).logits)


# ------------------------------------------------------------------------------------------------------- the method


def test_projections_are_trained_and_saved(tmp_path: Path) -> None:
    method = FitNet(student_layers=["0"], teacher_layers=["0"])
    module = make(method, example=samples()[0])
    before = copy.deepcopy(method.state_dict())
    assert before
    trainer = fit(module)
    in_optimizer = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert {id(p) for p in method.parameters()} <= in_optimizer
    assert all(not torch.equal(p, before[name]) for name, p in method.named_parameters())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert {f"method.{name}" for name in before} <= set(saved)


def test_a_method_needs_a_teacher() -> None:
    with pytest.raises(ValueError, match="method KD imitates a teacher, and teacher=None was given"):
        DistillModule(student(), None, KD())


def test_the_default_method() -> None:
    assert isinstance(DistillModule(student()).method, Supervised)
    assert isinstance(DistillModule(student(), teacher()).method, KD)


def test_without_a_teacher_it_learns_from_labels_alone() -> None:
    torch.manual_seed(1)
    module = DistillModule(student(), optimizer=SGD)
    trainer = fit(module)
    assert {name for name in trainer.callback_metrics if name.startswith("train/")} == {
        "train/loss", "train/ce", "train/accuracy", "train/learning_rate",
    }  # fmt: skip
    assert {name for name in trainer.callback_metrics if name.startswith("val/")} == {"val/accuracy", "val/ce"}


# ---------------------------------------------------------------------------------------------------- what is logged


def test_every_term_and_measure_is_logged_and_the_total_is_their_sum() -> None:
    module = make(KD(temperature=2.0, weight=0.7, label_weight=0.3))
    logged = {name: float(value) for name, value in fit(module, epochs=2).callback_metrics.items()}
    terms = ("train/kd", "train/ce")
    measures = ("train/accuracy", "train/agreement", "train/teacher_entropy", "train/learning_rate")
    assert {name for name in logged if name.startswith("train/")} == {"train/loss", *terms, *measures}
    weights = {name: value for name, value in logged.items() if name.startswith("weight/")}
    assert weights == pytest.approx({"weight/kd": 0.7, "weight/ce": 0.3})
    assert {name for name in logged if name.startswith("weighted/")} == {"weighted/kd", "weighted/ce"}
    for name in ("kd", "ce"):
        assert logged[f"weighted/{name}"] == pytest.approx(weights[f"weight/{name}"] * logged[f"train/{name}"])
    assert logged["train/loss"] == pytest.approx(logged["weighted/kd"] + logged["weighted/ce"])
    assert {name for name in logged if name.startswith("val/")} == {
        "val/accuracy", "val/agreement", "val/ce", "val/kl",
    }  # fmt: skip
    assert module.history[-1] == pytest.approx({"epoch": 2, **logged})


def test_terms_are_logged_without_their_weights_also_where_a_schedule_makes_them_zero() -> None:
    method = KD(temperature=2.0, weight=0.7)
    method.schedules = {"weight": Ramp(0, 0), "temperature": Ramp(2, 2)}
    frozen = partial(torch.optim.SGD, lr=0.0)
    seeds = {"optimizer": frozen, "seed": 1}
    alone = {name: float(value) for name, value in fit(make(KD(temperature=4.0), **seeds)).callback_metrics.items()}
    logged = {name: float(value) for name, value in fit(make(method, **seeds)).callback_metrics.items()}
    assert logged["weight/kd"] == logged["weighted/kd"] == 0
    assert logged["schedule/temperature"] == 4
    assert (logged["train/kd"], logged["train/ce"]) == pytest.approx((alone["train/kd"], alone["train/ce"]))


def test_the_loss_of_a_step_is_the_weighted_sum_of_its_terms() -> None:
    module = make(KD(temperature=2.0, weight=0.7, label_weight=0.3)).eval()
    images, targets = samples()
    loss = module.training_step((images, targets), 0)
    answers, taught = module.student(images).logits, module.teacher(Batch(images, targets)).logits
    kl = F.kl_div((answers / 2).log_softmax(1), (taught / 2).softmax(1), reduction="batchmean")
    expected = 0.3 * F.cross_entropy(answers, targets) + 0.7 * 4 * kl
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.student.parameters())


def test_plain_pairs_and_batches_give_the_same_loss() -> None:
    images, targets = samples()
    module = make().eval()
    losses = [module.training_step(b, 0) for b in ((images, targets), [images, targets], Batch(images, targets))]
    assert losses[0] == losses[1] == losses[2]


def test_measures_are_what_they_say() -> None:
    fixed = torch.randn(10, 3, generator=torch.Generator().manual_seed(4))

    class Fixed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return fixed[: len(images)] * 3

    module = make(taught_by=Fixed())
    images, targets = samples()
    module.eval().training_step((images, targets), 0)
    last = module._record.step()
    p = (3 * fixed).double().softmax(1)
    said = module.student(images).logits.argmax(1)
    assert last["step/teacher_entropy"] == pytest.approx(float(-(p * p.log()).sum(1).mean()), rel=1e-5)
    assert last["step/accuracy"] == pytest.approx(float((said == targets).double().mean()))
    assert last["step/agreement"] == pytest.approx(float((said == fixed.argmax(1)).double().mean()))
    mixed = F.one_hot(targets, 3) * 0.6 + 0.4 / 3
    module.training_step((images, mixed), 0)
    assert module._record.step()["step/accuracy"] == last["step/accuracy"]


def test_validation_counts_samples_not_batches() -> None:
    module = make()
    trainer = fit(module)
    images, targets = samples(7)  # in batches of 4 and 3
    with torch.no_grad():
        answers = module.eval().student(images).logits
        taught = module.teacher(Batch(images, targets)).logits
    expected = {
        "val/accuracy": (answers.argmax(1) == targets).float().mean(),
        "val/agreement": (answers.argmax(1) == taught.argmax(1)).float().mean(),
        "val/ce": F.cross_entropy(answers, targets),
        "val/kl": F.kl_div(answers.log_softmax(1), taught.softmax(1), reduction="batchmean"),
    }
    for name, value in expected.items():
        torch.testing.assert_close(trainer.callback_metrics[name], value)


def test_single_steps_are_logged_as_often_as_asked(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    fit(make(), epochs=2, logger=logger, log_every_n_steps=2)
    lines = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert [row["step"] for row in rows if row["step/loss"]] == ["2", "4", "6"]
    assert all(row["step/kd"] and row["step/ce"] for row in rows if row["step/loss"])


def test_a_loss_that_is_not_finite_ends_the_run_with_advice() -> None:
    module = make(optimizer=partial(torch.optim.SGD, lr=1e30))
    with pytest.raises(
        FloatingPointError, match=r"^ce=(nan|inf).* in step 2 \(epoch 1, batch 1.*: lower optimizer\.lr"
    ):
        fit(module, epochs=3)


# --------------------------------------------------------------------------------------------------------- schedules


def test_the_learning_rate_follows_the_schedule_step_by_step() -> None:
    rates: list[float] = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit(make(schedule=MultiStep(milestones=[0.5], gamma=0.1)), epochs=2, callbacks=[Watch()])
    assert rates == pytest.approx([0.1] * 3 + [0.01] * 3)


def test_the_methods_schedules_follow_the_share_of_steps() -> None:
    weights: list[float] = []

    class Watched(KD):
        def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
            weights.append(self.weight)
            return super().forward(student, teacher, batch)

    method = Watched(weight=2.0)
    method.schedules["weight"] = Ramp()
    fit(make(method), epochs=2)
    assert weights == pytest.approx([2 * step / 6 for step in range(6)])


# ------------------------------------------------------------------------------------------------------- checkpoints


def test_a_resumed_run_repeats_the_uninterrupted_one_and_keeps_its_history(tmp_path: Path) -> None:
    whole = make()
    fit(whole, epochs=4)
    first = make()
    # Told of four epochs and stopped after two, as an interrupted run is.
    trainer = fit(first, epochs=4, callbacks=[StopAfter(2)])
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert len(first.history) == 2
    second = make(seed=99)  # other weights, and no trace left of the first
    fit(second, epochs=4, ckpt_path=tmp_path / "last.ckpt")
    assert [epoch["epoch"] for epoch in second.history] == [1, 2, 3, 4]
    assert second.history == whole.history
    mine, theirs = second.state_dict(), whole.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)  # dropout drew the same too


class StopAfter(pl.Callback):
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


# -------------------------------------------------------------------------------------------------------- the README


def example() -> str:
    blocks: Sequence[str] = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    found = [block for block in blocks if "DistillModule(" in block]
    assert found, "README.md has no python block that uses DistillModule"
    return found[0]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on the settings that the test adds
def test_the_readmes_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = pl.Trainer
    few = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1, "accelerator": "cpu"}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    monkeypatch.setattr(pl, "Trainer", lambda **given: trainer(**{**given, **few, **quiet}))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example(), str(README), "exec"), names)
    (module,) = (value for value in names.values() if isinstance(value, DistillModule))
    assert len(module.history) == 1
    assert module.history[0]["train/loss"] > 0
