"""Gradients are clipped in every precision, whichever kernel takes the optimizer's step."""

from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from distill import DistillModule
from distill.methods import Supervised

IMAGES = torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(0))
SAMPLES = TensorDataset(IMAGES, torch.arange(16) % 4)
OPTIMIZERS = {"sgd": partial(torch.optim.SGD, lr=1.0), "adamw": partial(torch.optim.AdamW, lr=0.1)}


class Norms(pl.Callback):
    """What is left of the gradients when the optimizer gets them: the norm of all, and the largest value."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def on_before_zero_grad(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Any) -> None:
        gradients = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
        if gradients:
            values = torch.cat(gradients)
            self.seen.append((float(values.norm()), float(values.abs().max())))


def train(
    name: str, plugin: Precision, algorithm: str | None, *, fused: bool
) -> tuple[nn.Module, list[tuple[float, float]]]:
    torch.manual_seed(0)
    student, norms = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)), Norms()
    module = DistillModule(student, method=Supervised(), optimizer=partial(OPTIMIZERS[name], fused=fused))
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", plugins=[plugin], callbacks=[norms], logger=False, accumulate_grad_batches=2,
        gradient_clip_val=None if algorithm is None else 0.01, gradient_clip_algorithm=algorithm,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(SAMPLES, batch_size=4), DataLoader(SAMPLES, batch_size=16))
    return student, norms.seen


def plugins() -> dict[str, Precision]:
    """16-mixed with a loss scale that is large and known: Lightning makes bf16-mixed of it on a CPU by itself."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    return {
        "32-true": Precision(),
        "bf16-mixed": MixedPrecision("bf16-mixed", "cpu"),
        "16-mixed": MixedPrecision("16-mixed", "cpu", scaler),
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_fused_optimizer_gets_clipped_gradients_and_takes_the_plain_ones_steps(
    name: str, algorithm: str, precision: str
) -> None:
    fused, seen = train(name, plugins()[precision], algorithm, fused=True)
    plain, _ = train(name, plugins()[precision], algorithm, fused=False)
    for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    place = ("norm", "value").index(algorithm)
    assert max(each[place] for each in seen) == pytest.approx(0.01, rel=1e-3)


def test_without_clipping_a_loss_scale_is_left_to_the_fused_step() -> None:
    scaled, _ = train("sgd", plugins()["16-mixed"], None, fused=True)
    plain, _ = train("sgd", plugins()["16-mixed"], None, fused=False)
    for ours, theirs in zip(scaled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # a skipped step is none
def test_an_overflowing_loss_scale_skips_the_step_as_ever() -> None:
    """The first scale overflows float16: no weight becomes NaN, and the scale falls."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    student, _ = train("sgd", MixedPrecision("16-mixed", "cpu", scaler), "norm", fused=True)
    assert all(parameter.isfinite().all() for parameter in student.parameters())
    assert scaler.get_scale() < 2.0**40
