"""A loss that is not finite: found at its step, and that step left out on request."""

import copy
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from distill import DistillModule
from distill.methods import Supervised
from distill.training.nonfinite import LossWatch, advice
from distill.types import Batch

pytestmark = pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")
SAMPLES, SPOILT = 24, 10  # batches of 4 in order: the third one holds it


def loader() -> DataLoader[Any]:
    images = torch.rand(SAMPLES, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images[SPOILT, 0, 0, 0] = torch.nan
    return DataLoader(TensorDataset(images, torch.arange(SAMPLES) % 3, torch.arange(SAMPLES)), batch_size=4)


def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def fit(module: DistillModule, epochs: int = 1, **settings: Any) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **settings,
    )  # fmt: skip
    trainer.fit(module, loader())
    return trainer


def test_the_step_the_term_and_the_samples_are_named_before_a_weight_moves() -> None:
    seen: list[dict[str, Tensor]] = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
            seen.append(copy.deepcopy(module.student.state_dict()))  # type: ignore[union-attr, operator]

    module = DistillModule(student(), method=Supervised())
    with pytest.raises(FloatingPointError) as error:
        fit(module, callbacks=[Watch()])
    assert str(error.value) == (
        "ce=nan in step 3 (epoch 1, batch 2 of samples 8, 9, 10, 11): lower optimizer.lr, or use "
        "trainer.precision=32-true; on_nonfinite=skip leaves such steps out"
    )
    assert len(seen) == 2
    for name, parameter in module.student.named_parameters():
        assert torch.equal(parameter, seen[-1][name])


@pytest.mark.parametrize(
    ("accumulated", "left_out", "clipped"), [(1, [2], None), (2, [2, 3], None), (1, [2], 0.1)], ids=str
)
def test_a_step_that_is_skipped_leaves_no_trace(accumulated: int, left_out: list[int], clipped: float | None) -> None:
    """As if its batches weren't there: weights, momentum, statistics and means."""
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1)
    module = DistillModule(student(), method=Supervised(), optimizer=optimizer, on_nonfinite="skip")
    fit(module, accumulate_grad_batches=accumulated, gradient_clip_val=clipped)
    assert module.losses.skipped == 1
    step = 3 if accumulated == 1 else 2
    assert module.losses.first == f"ce=nan in step {step} (epoch 1, batch 2 of samples 8, 9, 10, 11)"
    other = student()
    by_hand, losses = optimizer(other.parameters()), []
    batches = [batch for number, batch in enumerate(loader()) if number not in left_out]
    for number, (images, targets, _) in enumerate(batches):
        loss = nn.functional.cross_entropy(other(images), targets)
        losses.append(loss.item())
        (loss / accumulated).backward()
        if number % accumulated == accumulated - 1:
            if clipped is not None:
                nn.utils.clip_grad_norm_(other.parameters(), clipped)
            by_hand.step()
            by_hand.zero_grad()
    for name, value in module.student.backbone.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name])
    assert module.history[0]["train/ce"] == pytest.approx(sum(losses) / len(losses))


def test_a_gradient_that_is_not_finite_is_skipped_too() -> None:
    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(48, 3)

        def forward(self, images: Tensor) -> Tensor:
            finite = images.nan_to_num().flatten(1)
            root: Tensor = (finite[:, :1] * 0 * self.head.weight.sum()).sqrt()  # of zero: its gradient is infinite
            return self.head(finite) + (root if images.isnan().any() else 0)  # type: ignore[no-any-return]

    module = DistillModule(Steep(), method=Supervised(), on_nonfinite="skip")
    fit(module)
    assert module.losses.skipped == 1
    assert module.losses.first == "the gradient is not finite in step 3 (epoch 1)"
    assert all(weight.isfinite().all() for weight in module.parameters())


def test_what_was_skipped_stays_known_and_an_epoch_without_a_step_ends_the_run() -> None:
    module = DistillModule(student(), method=Supervised(), on_nonfinite="skip")
    checkpoint: dict[str, Any] = {}
    fit(module)
    module.on_save_checkpoint(checkpoint)
    again = DistillModule(student(), method=Supervised(), on_nonfinite="skip")
    again.on_load_checkpoint(checkpoint)
    assert (again.losses.skipped, again.losses.first) == (1, module.losses.first)
    with torch.no_grad():
        again.student.backbone[0].weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="on_nonfinite=skip left out every step of an epoch: ce=nan in step 3"):
        fit(again)


def test_on_a_gpu_it_is_found_when_steps_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that isn't the CPU, as far as the module is concerned."""
    looks: list[int] = []
    find = LossWatch.find

    def looked(self: LossWatch, *arguments: Any) -> str | None:
        looks.append(len(self._noted))
        return find(self, *arguments)

    monkeypatch.setattr(LossWatch, "find", looked)
    monkeypatch.setattr(Batch, "device", property(lambda batch: torch.device("meta")))
    monkeypatch.setattr(DistillModule, "device", property(lambda module: torch.device("meta")))
    module = DistillModule(student(), method=Supervised())
    monkeypatch.setattr(module, "_batch", lambda loaded, split, epoch=0: Batch(*loaded))
    with pytest.raises(FloatingPointError, match=r"^ce=nan in step 3 \(epoch 1, batch 2 of samples 8, 9, 10, 11\)"):
        fit(module, log_every_n_steps=4)
    assert looks == [4]


def test_large_numbers_of_double_precision_are_finite() -> None:
    watch = LossWatch("stop")
    watch.note({"ce": torch.tensor(1e60, dtype=torch.float64)}, Batch(torch.zeros(1, 1), None), 1, 1, 0)
    assert watch.find(pl.LightningModule()) is None


def test_many_samples_are_counted() -> None:
    watch = LossWatch("stop")
    watch.note({"kd": torch.tensor(torch.inf)}, Batch(torch.zeros(99, 1), None, torch.arange(99)), 1, 1, 0)
    said = watch.find(pl.LightningModule())
    assert said is not None
    assert advice(said).endswith(
        " 62, 63 and 35 more): lower optimizer.lr, or use trainer.precision=32-true; on_nonfinite=skip leaves such "
        "steps out"
    )
    assert watch.find(pl.LightningModule()) is None
