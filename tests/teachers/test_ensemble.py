"""Several teachers that answer as one."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from distill import DistillModule, Network
from distill.config import build
from distill.config.nodes import without
from distill.config.settings import TeachingSettings
from distill.errors import SettingError
from distill.methods import AT
from distill.models.cnn import cnn
from distill.models.weights_file import save_weights
from distill.teachers import EnsembleTeacher, Teacher
from distill.types import Batch

CONFIG = Path(__file__).parents[2] / "configs" / "teaching" / "ensemble.yaml"


def network(seed: int) -> Network:
    torch.manual_seed(seed)
    made = Network(cnn(num_classes=4, width=2), mean=[0.5] * 3, std=[0.2] * 3)
    with torch.no_grad():
        for parameter in made.backbone.head.parameters():  # type: ignore[union-attr]
            parameter.mul_(5)  # answers that differ
    return made


BATCH = Batch(torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(5) % 4)


def from_config(config: object) -> Teacher:
    return build.teacher(without(config, TeachingSettings), network(0), inputs=None)  # type: ignore[arg-type]  # an ensemble takes none


def softmax(row: list[float]) -> list[float]:
    return [math.exp(x) / sum(map(math.exp, row)) for x in row]


def expected(answers: list[list[list[float]]], combine: str) -> Tensor:
    """Written out, up to what a softmax doesn't see."""
    rows = []
    for n, label in enumerate(BATCH.targets.tolist()):
        each = [answer[n] for answer in answers]
        if combine == "logits":
            rows.append(softmax([sum(column) / 3 for column in zip(*each, strict=True)]))
            continue
        p = [softmax(row) for row in each]
        weights = [1 / 3] * 3
        if combine == "confidence":
            wrong = [-math.log(row[label]) for row in p]
            weights = [(1 - math.exp(c) / sum(map(math.exp, wrong))) / 2 for c in wrong]
        assert sum(weights) == pytest.approx(1)
        rows.append([sum(w * row[c] for w, row in zip(weights, p, strict=True)) for c in range(4)])
    return torch.tensor(rows)


@pytest.mark.parametrize("combine", ["logits", "probabilities", "confidence"])
def test_answers_by_its_formula(combine: str) -> None:
    networks = [network(seed) for seed in range(3)]
    with torch.no_grad():
        answers = [each.eval()(BATCH.inputs).logits.double().tolist() for each in networks]
    teacher = EnsembleTeacher(networks, combine)  # type: ignore[arg-type]
    outputs = teacher(BATCH)
    torch.testing.assert_close(outputs.logits.softmax(1), expected(answers, combine), rtol=1e-4, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    if combine != "logits":
        torch.testing.assert_close(outputs.logits.logsumexp(1), torch.zeros(5), rtol=0, atol=1e-5)
    assert EnsembleTeacher(networks, combine)(replace(BATCH, targets=torch.eye(4)[BATCH.targets])).logits.allclose(  # type: ignore[arg-type]
        outputs.logits
    )


def test_from_the_config(tmp_path: Path) -> None:
    files = []
    for seed in (1, 2):
        files.append(str(tmp_path / f"{seed}.safetensors"))
        save_weights(network(seed).backbone, files[-1])
    config = OmegaConf.load(CONFIG)
    config.checkpoints = files
    built = from_config(config)
    direct = EnsembleTeacher([network(seed) for seed in range(3)])
    assert torch.equal(built(BATCH).logits, direct(BATCH).logits)


def test_features_are_the_first_ones() -> None:
    teacher = EnsembleTeacher([network(0), network(1)])
    module = DistillModule(network(2), teacher, AT(), example=BATCH.inputs)
    assert teacher.network is not None
    answers = teacher(BATCH)
    alone = teacher.network(BATCH.inputs)
    assert set(answers.features) == set(module.method.taps.teacher)
    assert all(torch.equal(answers.features[name], alone.features[name]) for name in answers.features)


def test_mistakes_are_named(tmp_path: Path) -> None:
    config = OmegaConf.load(CONFIG)
    with pytest.raises(SettingError, match=r"teaching\.checkpoints=\[\]"):
        from_config(config)
    config.checkpoints = [str(tmp_path / "none.safetensors")]
    with pytest.raises(SettingError, match=r"none\.safetensors: no such file"):
        from_config(config)
    with pytest.raises(ValueError, match="combine='best'"):
        EnsembleTeacher([network(0), network(1)], "best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two or more"):
        EnsembleTeacher([network(0)])


class RulesOut(torch.nn.Module):
    """Another network, with -inf for a class."""

    def __init__(self, backbone: torch.nn.Module, ruled_out: int) -> None:
        super().__init__()
        self.backbone, self.ruled_out = backbone, ruled_out

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.backbone(images)
        return logits.masked_fill(torch.arange(4) == self.ruled_out, -torch.inf)


@pytest.mark.parametrize("combine", ["logits", "probabilities", "confidence", "learned"])
@pytest.mark.parametrize("ruled_out", [(1, 1), (1, 2)])
def test_a_class_that_one_rules_out_or_all(combine: str, ruled_out: tuple[int, int]) -> None:
    """Some of these are the true ones."""
    networks = [Network(RulesOut(network(seed).backbone, out)) for seed, out in enumerate(ruled_out)]
    teacher = EnsembleTeacher(networks, combine)  # type: ignore[arg-type]
    for _ in range(2):  # the second time with weights that have been learned
        p = teacher(replace(BATCH, split="train")).logits.softmax(1)
        assert p.isfinite().all()
        assert teacher.weights.isfinite().all()
    for label in set(ruled_out) if combine == "logits" else set(ruled_out[:1]) & set(ruled_out[1:]):
        assert (p[:, label] == 0).all()
    if combine == "confidence" and ruled_out == (1, 2):  # whoever rules out the truth has no say
        (place,) = (BATCH.targets == 2).nonzero()[0].tolist()
        with torch.no_grad():
            torch.testing.assert_close(p[place], networks[0].eval()(BATCH.inputs).logits[place].softmax(0))
