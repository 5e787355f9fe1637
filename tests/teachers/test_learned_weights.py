"""Several teachers with one weight each, learned from the labels."""

import io
import logging
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from commands import ForkServer
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from distill import DistillModule, Network
from distill.config import build
from distill.config.nodes import without
from distill.config.settings import TeachingSettings
from distill.errors import SettingError
from distill.methods import KD
from distill.models.cnn import cnn
from distill.models.weights_file import save_weights
from distill.teachers import EnsembleTeacher
from distill.types import Batch

CONFIG = Path(__file__).parents[2] / "configs" / "teaching" / "ensemble.yaml"
CLASSES = 4


class Says(nn.Module):
    """Answers with the image's own channels, times its sureness: so what it says can be written down."""

    def __init__(self, sureness: float) -> None:
        super().__init__()
        self.sureness = nn.Parameter(torch.tensor(sureness))

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, 0, 0] * self.sureness


def teacher(*sureness: float, combine: Any = "learned", **options: Any) -> EnsembleTeacher:
    return EnsembleTeacher([Network(Says(each)) for each in sureness], combine, **options)


def batch(seed: int = 0, size: int = 6, mixed: bool = False) -> Batch:
    """Images of which the label's channel is mostly the brightest."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (size,), generator=generator)
    images = nn.functional.one_hot(labels, CLASSES) * 0.7 + torch.rand(size, CLASSES, generator=generator)
    targets = torch.rand(size, CLASSES, generator=generator).softmax(1) if mixed else labels
    return Batch(images[:, :, None, None], targets)


def answer(ensemble: EnsembleTeacher, asked: Batch, split: Any = "train") -> Tensor:
    logits: Tensor = ensemble(replace(asked, split=split)).logits
    return logits


def softmax(row: list[float]) -> list[float]:
    return [math.exp(x) / sum(map(math.exp, row)) for x in row]


def written_out(
    scores: list[float], sureness: list[float], asked: Batch, rate: float
) -> tuple[list[list[float]], list[float]]:
    """The mixture's probabilities; the scores a step later, by w_k less k's share in the probability of the label."""
    mixed = asked.targets.is_floating_point()
    targets = asked.targets.double().tolist() if mixed else torch.eye(CLASSES)[asked.targets].tolist()
    weights, joined, slope = softmax(scores), [], softmax(scores)
    for image, target in zip(asked.inputs[:, :, 0, 0].double().tolist(), targets, strict=True):
        p = [softmax([x * each for x in image]) for each in sureness]
        joined.append([sum(w * row[c] for w, row in zip(weights, p, strict=True)) for c in range(CLASSES)])
        for k, row in enumerate(p):
            slope[k] -= sum(target[c] * weights[k] * row[c] / joined[-1][c] for c in range(CLASSES)) / len(targets)
    return joined, [score - rate * each for score, each in zip(scores, slope, strict=True)]


@settings(max_examples=25, deadline=None)
@given(
    sureness=st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=4),
    seed=st.integers(0, 99),
    mixed=st.booleans(),
    rate=st.floats(0.01, 5),
)
def test_answers_and_steps_by_its_formula(sureness: list[float], seed: int, mixed: bool, rate: float) -> None:
    ensemble, scores = teacher(*sureness, learning_rate=rate), [0.0] * len(sureness)
    for step in range(3):
        asked = batch(seed + step, mixed=mixed)
        joined, scores = written_out(scores, sureness, asked, rate)
        torch.testing.assert_close(answer(ensemble, asked).exp(), torch.tensor(joined), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(ensemble.weights, torch.tensor(softmax(scores)), rtol=1e-4, atol=1e-6)


def test_starts_as_the_mean_of_probabilities() -> None:
    learned, fixed = teacher(1.0, 3.0, -2.0), teacher(1.0, 3.0, -2.0, combine="probabilities")
    assert learned.weights.tolist() == pytest.approx([1 / 3] * 3)
    expected = answer(fixed, batch())
    assert torch.equal(answer(learned, batch()), expected)  # a batch is answered before it is learned from
    assert not torch.allclose(answer(learned, batch()), expected)
    assert torch.equal(answer(fixed, batch()), expected)
    assert fixed.moving_state_dict() == {}


def test_who_is_good_comes_to_count() -> None:
    ensemble = teacher(6.0, 0.0)
    for step in range(100):
        answer(ensemble, batch(step, size=16))
    assert ensemble.weights[0] > 0.95


def test_finds_the_best_mixture() -> None:
    """One teacher knows the even samples, the other three of the odd ones; each is sure, and wrong, of the rest."""
    p = torch.full((2, 8, CLASSES), 0.1)
    labels = torch.arange(8) % CLASSES
    for k, known in enumerate(([0, 2, 4, 6], [1, 3, 5])):
        for n in range(8):
            p[k, n, labels[n] if n in known else (labels[n] + 1) % CLASSES] = 0.7
    networks = [Network(Given(each.log())) for each in p]
    ensemble = EnsembleTeacher(networks, "learned", learning_rate=2.0)
    for _ in range(300):
        answer(ensemble, Batch(torch.zeros(8, 3, 1, 1), labels))
    shares = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)[:, None, None]
    losses = -(shares * p[0] + (1 - shares) * p[1])[:, torch.arange(8), labels].log().mean(1)
    assert float(ensemble.weights[0]) == pytest.approx(float(shares[losses.argmin()]), abs=2e-3)


class Given(nn.Module):
    """Answers with what it was given."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[: len(images)]


def test_learns_from_training_batches_alone(caplog: pytest.LogCaptureFixture) -> None:
    ensemble = teacher(5.0, -1.0)
    with caplog.at_level(logging.INFO, "distill"):
        ensemble(batch())  # nobody said what it is
        with torch.inference_mode():
            answer(ensemble, batch(1), "val")
        assert torch.equal(ensemble.weights, torch.tensor([0.5, 0.5]))
        answer(ensemble, batch(2))
        moved = ensemble.weights
        assert moved[0] > 0.5
        for _ in range(2):
            answer(ensemble, batch(3), "val")
    assert torch.equal(ensemble.weights, moved)
    assert [record.getMessage() for record in caplog.records] == [
        f"weights of the teachers: {moved[0]:.3f}, {moved[1]:.3f}"
    ]


@pytest.mark.parametrize(
    ("precision", "kept"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_learns_in_single_precision_at_least(precision: torch.dtype, kept: torch.dtype) -> None:
    ensemble = teacher(5.0, -1.0).to(precision)
    asked = Batch(batch().inputs.to(precision), batch().targets)
    with torch.inference_mode():  # as in Lightning's validation before the first epoch
        answer(ensemble, asked, "val")
    assert answer(ensemble, asked).dtype == kept
    assert ensemble.weights.dtype == kept
    assert ensemble.weights[0] > 0.5


def test_remembers_bit_for_bit() -> None:
    whole, first, second = (teacher(5.0, 1.0, -1.0) for _ in range(3))
    expected = [answer(whole, batch(step)) for step in range(6)]
    for step in range(3):
        answer(first, batch(step))
    file = io.BytesIO()
    torch.save(first.moving_state_dict(), file)
    file.seek(0)
    second.load_moving_state_dict(torch.load(file, weights_only=True))
    assert all(torch.equal(answer(second, batch(step)), expected[step]) for step in range(3, 6))
    assert torch.equal(second.weights, whole.weights)


def half(rank: int, directory: str) -> None:
    dist.init_process_group("gloo", store=dist.FileStore(f"{directory}/store", 2), rank=rank, world_size=2)
    ensemble = teacher(5.0, 1.0, -1.0)
    for step in range(3):
        whole = batch(step)
        images, targets = whole.inputs, whole.targets
        answer(ensemble, Batch(images[3 * rank :][:3], targets[3 * rank :][:3]))
    torch.save(ensemble.moving_state_dict(), f"{directory}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_learn_what_one_would(forks: ForkServer, tmp_path: Path) -> None:
    forks.run_ranks(__file__, 2, str(tmp_path))  # as below
    alone = teacher(5.0, 1.0, -1.0)
    for step in range(3):
        answer(alone, batch(step))
    first, second = (torch.load(tmp_path / f"{rank}.pt")["scores"] for rank in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, alone.moving_state_dict()["scores"])


# -------------------------------------------------------------------------------------------------- with Lightning


def network(seed: int) -> Network:
    torch.manual_seed(seed)
    return Network(cnn(num_classes=CLASSES, width=2))


def module(directory: Path) -> DistillModule:
    config = OmegaConf.load(CONFIG)
    config.combine, config.checkpoints = "learned", [str(directory / "other.safetensors")]
    save_weights(network(1).backbone, config.checkpoints[0])
    ensemble = build.teacher(without(config, TeachingSettings), network(0), inputs=None)  # type: ignore[arg-type]  # an ensemble takes none
    return DistillModule(network(2), ensemble, KD())


def fit(trained: DistillModule, directory: Path, epochs: int, ckpt_path: Path | None = None) -> None:
    images = torch.rand(24, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    loader = DataLoader(TensorDataset(images, torch.arange(24) % CLASSES), 6)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=directory,
    )
    trainer.fit(trained, loader, loader, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    trainer.save_checkpoint(directory / "last.ckpt")


def weights(trained: DistillModule) -> Tensor:
    assert isinstance(trained.teacher, EnsembleTeacher)
    return trained.teacher.weights


def test_goes_on_exactly_after_a_stop(tmp_path: Path) -> None:
    whole, first, second = (module(tmp_path) for _ in range(3))
    fit(whole, tmp_path, 3)
    fit(first, tmp_path, 1)
    assert not torch.equal(weights(first), weights(second))
    fit(second, tmp_path, 3, tmp_path / "last.ckpt")
    assert not torch.equal(weights(first), weights(second))
    assert torch.equal(weights(whole), weights(second))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_the_student_has_no_say(tmp_path: Path) -> None:
    trained, other = module(tmp_path), module(tmp_path)
    with torch.no_grad():
        for parameter in other.student.parameters():
            parameter.mul_(2)
    fit(trained, tmp_path, 1)
    fit(other, tmp_path, 1)
    assert torch.equal(weights(trained), weights(other))
    assert all(name.startswith("student.") for name, _ in trained.named_parameters())


def test_bad_rates_are_named() -> None:
    for rate in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"learning_rate={rate}: must be above 0"):
            teacher(1.0, 2.0, learning_rate=rate)


def test_bad_settings_are_named(tmp_path: Path) -> None:
    config = OmegaConf.load(CONFIG)
    config.checkpoints = [str(tmp_path / "other.safetensors")]
    save_weights(network(1).backbone, config.checkpoints[0])
    for name, value in (("learning_rate", 0), ("learning_rate", "fast"), ("combine", "learnt")):
        wrong = OmegaConf.merge(config, {name: value})
        with pytest.raises(SettingError, match=rf"teaching\.{name}='?{value}'?: must be") as error:
            build.teacher(without(wrong, TeachingSettings), network(0), inputs=None)  # type: ignore[arg-type]
        assert "\n" not in str(error.value)


if __name__ == "__main__":
    half(int(sys.argv[1]), sys.argv[2])
