"""DeiT's distillation token, on timm's own networks."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir

from distill import DistillModule, Network
from distill.config import build
from distill.methods import DeiT
from distill.models.cnn import cnn
from distill.types import Batch

CONFIGS = Path(__file__).parents[2] / "configs"


def test_each_head_has_its_own_teacher() -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["experiment=deit", "method.deit.weight=0.7", "method.deit.label_weight=0.2"])
    method = build.method(config.method)
    small = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    torch.manual_seed(0)
    student = timm.create_model(config.student.name, num_classes=5, **small)
    teacher = Network(cnn(num_classes=5, width=2))
    images, targets = torch.rand(6, 3, 16, 16), torch.arange(6) % 5
    module = DistillModule(student, teacher, method, example=images[:2]).train()
    outputs = module.student(images)
    batch = Batch(images, targets)
    assert module.teacher is not None
    answers = module.teacher(batch)
    terms = module.method(outputs, answers, batch)

    tokens = student.norm(student.blocks(student._pos_embed(student.patch_embed(images))))
    by_labels, by_teacher = student.head(tokens[:, 0]), student.head_dist(tokens[:, 1])
    torch.testing.assert_close(terms["ce"], 0.2 * F.cross_entropy(by_labels, targets))
    torch.testing.assert_close(terms["deit"], 0.7 * F.cross_entropy(by_teacher, answers.logits.argmax(1)))
    torch.testing.assert_close(module(images), (by_labels + by_teacher) / 2)

    terms["deit"].backward()
    assert student.head_dist.weight.grad is not None
    assert student.head.weight.grad is None
    assert torch.stack(list(terms.values())).isfinite().all()


def test_two_heads_or_an_error() -> None:
    with pytest.raises(ValueError, match=r"student_layers=\['head'\]"):
        DeiT(student_layers=["head"])
