"""torch.compile takes the losses whole: no graph break, the same values and gradients."""

import pytest
import torch
from oracle import ALL, relative, with_gradients

import distill.losses as losses
from distill.losses import SparseTeacher

CASES = {
    "plain": {"temperature": 4.0},
    "rows": {"temperature": torch.tensor([1.0, 2.0, 3.0, 4.0]), "weights": torch.rand(4), "reduction": "positionmean"},
    "elements": {"reduction": "none", "mask": torch.tensor([True, False, True, True])},
    "learned": {"temperature": torch.tensor(2.0, requires_grad=True)},
}


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["kl", "js"])
def test_one_graph(name, case):
    torch.manual_seed(0)
    s, t = torch.randn(2, 4, 9)
    loss, keywords = ALL[name]
    options = {**CASES[case], **keywords}
    compiled = torch.compile(lambda a, b: 2 * loss(a, b, **options).sum(), fullgraph=True, backend="aot_eager")
    for a, b in zip(
        with_gradients(compiled, s, t), with_gradients(lambda a, b: 2 * loss(a, b, **options).sum(), s, t), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_inductor_keeps_the_dtype_contract(dtype):
    torch.manual_seed(0)
    s, t = torch.randn(2, 4, 9).to(dtype)
    scale = 2.0**10
    compiled = torch.compile(lambda a: losses.kl_divergence(a, t, reduction="mean") * scale, fullgraph=True)
    found = with_gradients(compiled, s)
    expected = with_gradients(lambda a: losses.kl_divergence(a, t.double(), reduction="mean") * scale, s.double())
    assert found[0].dtype == torch.float32
    assert found[1].dtype == dtype
    assert relative(found[1], expected[1]) < (1e-5 if dtype == torch.float32 else 2e-3)


def test_maps_and_sparse_teachers():
    torch.manual_seed(0)
    s, t = torch.randn(2, 2, 5, 3, 2)
    sparse = SparseTeacher.from_logits(t, 3)
    for teacher in (t, sparse):
        compiled = torch.compile(lambda a, x=teacher: losses.kl_divergence(a, x), fullgraph=True, backend="aot_eager")
        for a, b in zip(
            with_gradients(compiled, s), with_gradients(lambda a, x=teacher: losses.kl_divergence(a, x), s), strict=True
        ):
            torch.testing.assert_close(a, b)


def test_a_frozen_student_of_a_learning_teacher():
    torch.manual_seed(0)
    s, t = torch.randn(2, 4, 9)
    compiled = torch.compile(lambda b: losses.kl_divergence(s, b), fullgraph=True, backend="aot_eager")
    for a, b in zip(with_gradients(compiled, t), with_gradients(lambda b: losses.kl_divergence(s, b), t), strict=True):
        torch.testing.assert_close(a, b)
