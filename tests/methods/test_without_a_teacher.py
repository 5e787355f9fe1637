"""Methods that need no teacher: mutual learning, and a teacher drawn by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distill import DistillModule, Network
from distill.methods import DML, KD, Composite, Method, TfKD
from distill.models.cnn import cnn
from distill.types import Batch, Outputs


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def softmax(logits: list[float], temperature: float = 1.0) -> list[float]:
    weights = [math.exp(logit / temperature) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def test_tf_kd_is_its_formula(student: Outputs, batch: Batch) -> None:
    expected = 0.0
    for row, label in zip(student.logits.tolist(), batch.targets.tolist(), strict=True):
        drawn = [0.9 if c == label else 0.1 / (len(row) - 1) for c in range(len(row))]
        expected += kl(softmax(drawn, 20.0), softmax(row)) / len(student.logits)
    terms = TfKD(correct=0.9, weight=0.5, label_weight=2.0)(student, None, batch)
    assert terms["tf_kd"].item() == pytest.approx(0.5 * expected, rel=1e-6)
    assert terms["ce"].item() == pytest.approx(2 * F.cross_entropy(student.logits, batch.targets).item())


def batch_and_module(method: Method) -> tuple[Batch, DistillModule]:
    torch.manual_seed(0)
    module = DistillModule(Network(cnn(num_classes=4, width=2), mean=[0.4] * 3, std=[0.2] * 3), None, method)
    return Batch(torch.rand(6, 3, 8, 8), torch.arange(6) % 4), module


def answers(module: DistillModule, batch: Batch) -> list[Tensor]:
    return [network(batch.inputs).logits for network in (module.student, *module.method.peers)]


def test_dml_is_its_formula() -> None:
    batch, module = batch_and_module(DML(peers=2, temperature=2.0, weight=0.7, label_weight=0.3))
    logits = answers(module, batch)
    rows = [[softmax(row, 2.0) for row in each.tolist()] for each in logits]

    def mutual(i: int) -> float:
        others = [j for j in range(3) if j != i]
        return 0.7 * 4 * sum(kl(rows[j][n], rows[i][n]) for j in others for n in range(6)) / 6 / 2

    terms = module.method(module.student(batch.inputs), None, batch)
    assert terms["dml"].item() == pytest.approx(mutual(0), rel=1e-3)
    assert terms["peers_dml"].item() == pytest.approx(mutual(1) + mutual(2), rel=1e-3)
    ce = [0.3 * F.cross_entropy(each, batch.targets).item() for each in logits]
    assert terms["ce"].item() == pytest.approx(ce[0], rel=1e-5)
    assert terms["peers_ce"].item() == pytest.approx(ce[1] + ce[2], rel=1e-5)


def test_peers_differ_and_teach_without_being_pulled() -> None:
    batch, module = batch_and_module(DML())
    first, second = answers(module, batch)
    assert not torch.equal(first, second)
    student, peer = (module.student, module.method.peers[0])
    for mine, theirs in zip(student.parameters(), peer.parameters(), strict=True):
        assert torch.equal(mine.flatten().sort().values, theirs.flatten().sort().values)
    module.method(student(batch.inputs), None, batch)["dml"].backward()
    assert all(parameter.grad is None for parameter in peer.parameters())
    assert any(parameter.grad is not None for parameter in student.parameters())


def test_composed_without_a_teacher_and_with_one() -> None:
    both = Composite({"dml": DML(), "tf_kd": TfKD()})
    assert not both.needs_teacher
    batch, module = batch_and_module(both)
    assert set(both(module.student(batch.inputs), None, batch)) == {"ce", "dml", "peers_ce", "peers_dml", "tf_kd"}
    assert Composite({"dml": DML(), "kd": KD()}).needs_teacher


@pytest.mark.parametrize(("cls", "setting", "value"), [(TfKD, "correct", 1.0), (DML, "peers", 0)])
def test_bad_settings_are_named(cls: type[Method], setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{setting}={value}"):
        cls(**{setting: value})
