"""The student's moving average as its teacher."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from distill import DistillModule, Network
from distill.methods import AT, KD, Composite
from distill.models.cnn import cnn
from distill.teachers import EMATeacher
from distill.types import Batch

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),
]


def module() -> DistillModule:
    torch.manual_seed(0)
    student = Network(cnn(num_classes=4, width=2, norm="batch"))
    images = torch.rand(2, 3, 8, 8)
    return DistillModule(student, EMATeacher(0.9), Composite({"kd": KD(), "at": AT()}), example=images)


def fit(
    trained: DistillModule, directory: Path, epochs: int, ckpt_path: Path | None = None, **settings: object
) -> None:
    generator = torch.Generator().manual_seed(3)
    data = TensorDataset(torch.rand(24, 3, 8, 8, generator=generator), torch.arange(24) % 4)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=directory,
        **settings,
    )
    loader = DataLoader(data, 6)
    trainer.fit(trained, loader, loader, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    trainer.save_checkpoint(directory / "last.ckpt")


def average(trained: DistillModule) -> dict[str, Tensor]:
    assert isinstance(trained.teacher, EMATeacher)
    assert trained.teacher.network is not None
    return {name: value.clone() for name, value in trained.teacher.network.state_dict().items()}


def test_follows_by_its_formula() -> None:
    student = Network(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)))
    teacher = EMATeacher(decay=0.7)
    teacher.begin(student)
    weight = student.backbone[1].weight  # type: ignore[index]
    expected, values = [weight.tolist()], []
    for done in (1, 1, 2, 3, 4, 5):  # a step told twice, as with accumulated gradients, counts once
        if not values or done != values[-1]:
            with torch.no_grad():
                weight.add_(1.0)
            values.append(done)
            decay = min(0.7, done / (done + 1))
            last = expected[-1]
            expected.append(
                [[decay * a + (1 - decay) * b for a, b in zip(*rows, strict=True)]
                 for rows in zip(last, weight.tolist(), strict=True)]
            )  # fmt: skip
        teacher.step(done)
    assert teacher.network is not None
    got = teacher.network.state_dict()["backbone.1.weight"]
    torch.testing.assert_close(got, torch.tensor(expected[-1]))


def test_trains_apart_from_the_optimizer_and_lags_behind(tmp_path: Path) -> None:
    trained = module()
    assert not any(name.startswith("teacher") for name, _ in trained.named_parameters())
    start = average(trained)
    fit(trained, tmp_path, 2)
    end, student = average(trained), trained.student.state_dict()
    assert any(not torch.equal(start[name], end[name]) for name in start)
    assert any(not torch.equal(student[name], end[name]) for name in start)
    assert trained.teacher is not None
    assert not any(parameter.requires_grad for parameter in trained.teacher.parameters())
    assert torch.equal(end["backbone.stem.norm.num_batches_tracked"], torch.tensor(8))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_goes_on_exactly_after_a_stop(tmp_path: Path, accumulate: int) -> None:
    whole, first, second = module(), module(), module()
    fit(whole, tmp_path, 3, accumulate_grad_batches=accumulate)
    fit(first, tmp_path, 1, accumulate_grad_batches=accumulate)
    with torch.no_grad():  # the memory comes from the file, not from how the second one started
        for parameter in second.student.parameters():
            parameter.zero_()
    fit(second, tmp_path, 3, tmp_path / "last.ckpt", accumulate_grad_batches=accumulate)
    expected, got = average(whole), average(second)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_needs_a_beginning() -> None:
    with pytest.raises(RuntimeError, match="begin"):
        EMATeacher()(Batch(torch.rand(1, 3, 8, 8), torch.zeros(1)))


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_bad_decay_is_named(decay: float) -> None:
    with pytest.raises(ValueError, match=f"decay={decay}"):
        EMATeacher(decay)
