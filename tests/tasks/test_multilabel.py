"""Several labels a sample: losses, scores and refusals against independent computations in float64."""

import math
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor

from distill.data.arrays import arrays
from distill.errors import SettingError
from distill.files import CONFIGS
from distill.methods import DKD, KD, Method
from distill.methods.labels import BinaryLoss
from distill.models.cnn import cnn
from distill.models.network import Network
from distill.tasks import MultiLabel
from distill.tasks.base import check_method
from distill.training.module import DistillModule
from distill.types import Batch, Outputs

sizes = st.tuples(st.integers(2, 30), st.integers(1, 8), st.integers(0, 10_000))


def drawn(count: int, labels: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits, teacher = (2 * torch.randn(count, labels, generator=generator) for _ in range(2))
    return logits, teacher, torch.randint(2, (count, labels), generator=generator)


@settings(deadline=None, max_examples=30)
@given(sizes, st.floats(0.5, 8))
def test_kd_is_the_binary_divergence_of_each_label(size: tuple[int, int, int], temperature: float) -> None:
    logits, teacher, targets = drawn(*size)
    module = DistillModule(
        Network(cnn(num_classes=2, in_channels=1, width=2)),
        Network(cnn(num_classes=2, in_channels=1, width=2)),
        KD(temperature=temperature, weight=0.7, label_weight=0.3),
        task=MultiLabel(),
    )
    total = module.method(Outputs(logits), Outputs(teacher), Batch(torch.zeros(len(targets), 1), targets)).total()
    kl = ce = 0.0
    for row, taught, truth in zip(logits.tolist(), teacher.tolist(), targets.tolist(), strict=True):
        for z, t, y in zip(row, taught, truth, strict=True):
            p, q = (1 / (1 + math.exp(-x / temperature)) for x in (t, z))
            kl += temperature**2 * (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))
            ce -= math.log(1 / (1 + math.exp(-z if y else z)))
    assert float(total) == pytest.approx((0.7 * kl + 0.3 * ce) / targets.numel(), rel=1e-4, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(sizes)
def test_scores_are_those_of_scikit_learn_in_any_batches(size: tuple[int, int, int]) -> None:
    logits, teacher, targets = drawn(*size)
    if not targets.any():
        return
    evaluation = MultiLabel().evaluation(targets.shape[1])
    for part in torch.arange(len(targets)).tensor_split(3):
        if len(part):
            evaluation.update(logits[part], targets[part], teacher[part])
    values = evaluation.scored().values
    truth, said, has = targets.numpy(), (logits >= 0).numpy(), targets.any(0).numpy()
    precisions = [average_precision_score(truth[:, i], logits[:, i].numpy()) for i in np.flatnonzero(has)]
    assert values["map"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert values["f1_micro"] == pytest.approx(f1_score(truth.ravel(), said.ravel(), zero_division=0))
    f1s = [f1_score(truth[:, i], said[:, i], zero_division=0) for i in np.flatnonzero(has)]
    assert values["f1_macro"] == pytest.approx(np.mean(f1s))
    assert values["exact_match"] == pytest.approx((truth == said).all(1).mean())
    assert values["agreement"] == pytest.approx(((teacher >= 0).numpy() == said).mean())
    counts, by_label = evaluation.by_class()
    assert counts.tolist() == truth.sum(0).tolist()
    assert by_label[torch.from_numpy(has)].tolist() == pytest.approx(precisions, abs=1e-6)


def test_the_labels_loss_is_torchs() -> None:
    logits, _, targets = drawn(12, 5, 0)
    plain = F.binary_cross_entropy_with_logits(logits, targets.float())
    torch.testing.assert_close(BinaryLoss(0.0, None)(logits, targets), plain)
    smooth = targets * 0.9 + 0.05
    torch.testing.assert_close(
        BinaryLoss(0.1, None)(logits, targets), F.binary_cross_entropy_with_logits(logits, smooth)
    )
    mixed = torch.rand(12, 5)
    torch.testing.assert_close(BinaryLoss(0.0, None)(logits, mixed), F.binary_cross_entropy_with_logits(logits, mixed))


@pytest.mark.parametrize("file", sorted((CONFIGS / "method").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_method_is_refused_in_one_line_or_learns(file: Path) -> None:
    """Each says what it needs; the others take a step with finite gradients."""
    [(_, node)] = OmegaConf.load(file).items()
    plain = OmegaConf.to_container(node)
    standardize, _ = plain.pop("standardize_logits", False), plain.pop("schedules", None)
    method: Method = hydra.utils.instantiate(plain, _convert_="all")
    method.standardize_logits = bool(standardize)
    if not method.needed() <= MultiLabel().traits:
        with pytest.raises(SettingError, match="which multilabel data has not"):
            check_method(MultiLabel(), method)
        return
    torch.manual_seed(0)
    student, teacher = (Network(cnn(num_classes=5, in_channels=3, width=width)) for width in (4, 6))
    images, targets = torch.rand(8, 3, 16, 16), torch.randint(2, (8, 5))
    module = DistillModule(
        student, teacher if method.needs_teacher else None, method, task=MultiLabel(), example=images[:4]
    )
    module.training_step((images, targets), 0).backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in module.parameters())
    assert any(weight.grad is not None and weight.grad.any() for weight in module.student.parameters())


def test_methods_of_exclusive_classes_are_refused() -> None:
    with pytest.raises(SettingError, match="DKD: needs exclusive classes, which multilabel data has not"):
        DistillModule(Network(cnn(num_classes=3)), Network(cnn(num_classes=3)), DKD(), task=MultiLabel())


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.bool_, np.float32])
def test_arrays_of_zeros_and_ones_are_several_labels(dtype: type, tmp_path: Path) -> None:
    images, labels = np.zeros((6, 8, 8), np.uint8), np.array([[0, 1, 1], [0, 0, 0], [1, 1, 1]] * 2).astype(dtype)
    np.savez(tmp_path / "m.npz", train_images=images, train_labels=labels, val_images=images, val_labels=labels)
    data = arrays(str(tmp_path / "m.npz"))
    assert isinstance(data.task, MultiLabel)
    assert data.train.targets.tolist() == labels.astype(int).tolist()
    assert data.num_classes == 3
    one_hot = np.eye(3, dtype=dtype)[[0, 1, 2, 0, 1, 2]]
    np.savez(tmp_path / "o.npz", train_images=images, train_labels=one_hot, val_images=images, val_labels=one_hot)
    assert arrays(str(tmp_path / "o.npz")).train.targets.tolist() == [0, 1, 2, 0, 1, 2]  # exactly one: classes
