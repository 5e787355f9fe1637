"""A teacher of k classes and a tail: equal to the dense one at k = C, and a divergence for every k."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import ALL, between, relative, with_gradients

import distill.losses as losses
from distill.losses import SparseTeacher, engine


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("reduction", ["sum", "mean", "batchmean", "positionmean"])
@pytest.mark.parametrize("shape", [(4, 7), (2, 7, 3), (2, 7, 3, 2)])
def test_all_classes_equal_the_dense_teacher(name, reduction, shape):
    torch.manual_seed(0)
    s, t = torch.randn(2, *shape, dtype=torch.float64)
    loss, keywords = ALL[name]
    sparse = SparseTeacher.from_logits(t, 7, temperature=2.0, dtype=torch.float64)
    options = {"temperature": 2.0, "reduction": reduction, **keywords}
    found = with_gradients(lambda a: loss(a, sparse, **options), s)
    expected = with_gradients(lambda a: loss(a, t, **options), s)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", [n for n in ALL if n != "alpha_beta"])
@settings(max_examples=20, deadline=None)
@given(k=st.integers(1, 9), seed=st.integers(0, 999), spread=st.sampled_from([1.0, 8.0]))
def test_a_divergence_of_buckets_for_any_k(name, k, seed, spread):
    torch.manual_seed(seed)
    s, t = torch.randn(2, 3, 9, dtype=torch.float64) * spread
    loss, keywords = ALL[name]
    sparse = SparseTeacher.from_logits(t, k, dtype=torch.float64)
    p, q = F.softmax(t, 1), F.softmax(s, 1)
    kept = p.topk(k, 1).indices
    others = torch.ones_like(p).scatter(1, kept, 0)
    p, q = (torch.cat((x.gather(1, kept), (x * others).sum(1, keepdim=True)), 1) for x in (p, q))
    p, q = (p, q) if k < 9 else (p[:, :-1], q[:, :-1])
    value = loss(s, sparse, reduction="sum", **keywords).item()
    assert value == pytest.approx(between(name, p, q).sum().item(), rel=1e-7, abs=1e-9)
    dense = loss(s, t, reduction="sum", **keywords).item()
    if name != "cross_entropy":
        assert -1e-12 <= value <= dense * (1 + 1e-9) + 1e-12
        assert loss(t, sparse, reduction="sum", **keywords).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("k", [1, 3, 6, 7])
def test_first_and_second_derivatives(k, monkeypatch):
    torch.manual_seed(0)
    s, t = (torch.randn(4, 7, dtype=torch.float64, requires_grad=x) for x in (True, False))
    sparse = SparseTeacher.from_logits(t, k, temperature=3.0, dtype=torch.float64)
    monkeypatch.setattr(engine, "CPU_CHUNK", 15)
    for loss in (losses.kl_divergence, losses.js_divergence):
        assert torch.autograd.gradcheck(lambda a, f=loss: f(a, sparse, temperature=3.0), s)
        assert torch.autograd.gradgradcheck(lambda a, f=loss: f(a, sparse, temperature=3.0), s)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 3e-3), (torch.bfloat16, 3e-2)])
def test_storage_in_few_bits(dtype, tolerance):
    torch.manual_seed(0)
    s, t = torch.randn(2, 16, 1000) * 3
    sparse = SparseTeacher.from_logits(t, 20, temperature=2.0, dtype=dtype)
    assert sparse.values.dtype == sparse.log_tail.dtype == dtype
    assert sparse.indices.dtype == torch.int32
    exact = SparseTeacher.from_logits(t.double(), 20, temperature=2.0, dtype=torch.float64)
    found = with_gradients(lambda a: losses.kl_divergence(a, sparse, temperature=2.0), s)
    expected = with_gradients(lambda a: losses.kl_divergence(a, exact, temperature=2.0), s.double())
    for a, b in zip(found, expected, strict=True):
        assert relative(a, b) < tolerance
    assert sparse.log_probabilities(torch.float64).exp().sum(-1).sub(1).abs().max() < 1e-9


def test_a_tiny_tail_keeps_its_digits():
    t = torch.tensor([[40.0, 0.0, -1.0, -2.0]])
    sparse = SparseTeacher.from_logits(t, 1)
    rest = t.double()[:, 1:].logsumexp(1) - t.double().logsumexp(1)
    assert sparse.log_tail.item() == pytest.approx(rest.item(), rel=1e-6)
    s = torch.tensor([[80.0, 0.0, 1.0, 2.0]])  # the student's tail is below float32's smallest step from 1
    value, gradient = with_gradients(lambda a: losses.kl_divergence(a, sparse), s)
    assert value.isfinite()
    assert gradient.isfinite().all()


def test_positions_masks_and_half_precision_students():
    torch.manual_seed(0)
    s, t = torch.randn(2, 2, 3, 9).to(torch.bfloat16)
    sparse = SparseTeacher.from_logits(t, 4, class_dim=-1)
    mask = torch.tensor([[True, False, True], [False, False, True]])
    s[0, 1] = float("nan")
    options = {"class_dim": -1, "reduction": "positionmean"}
    found = with_gradients(lambda a: losses.kl_divergence(a, sparse, mask=mask, **options), s)
    kept = SparseTeacher(sparse.values[mask], sparse.indices[mask], sparse.log_tail[mask])
    expected = with_gradients(lambda a: losses.kl_divergence(a, kept, **options), s[mask])
    torch.testing.assert_close(found[0], expected[0])
    assert found[1].dtype == torch.bfloat16
    torch.testing.assert_close(found[1][mask], expected[1])
    assert (found[1][~mask] == 0).all()


def test_classes_at_minus_infinity():
    t = torch.tensor([[1.0, -float("inf"), 0.5, -float("inf")]])
    s = torch.tensor([[0.3, -float("inf"), 0.1, -float("inf")]])
    for k in (1, 2, 3, 4):
        sparse = SparseTeacher.from_logits(t, k)
        value, gradient = with_gradients(lambda a, x=sparse: losses.kl_divergence(a, x), s)
        assert value.isfinite()
        assert gradient.isfinite().all()
    assert value.item() == pytest.approx(losses.kl_divergence(s, t).item(), rel=1e-5)


def test_empty_batch():
    s = torch.randn(0, 5, requires_grad=True)
    losses.kl_divergence(s, SparseTeacher.from_logits(torch.randn(0, 5), 2)).backward()
    assert s.grad.shape == (0, 5)


def test_another_temperature_is_refused():
    t = torch.randn(2, 5)
    with pytest.raises(ValueError, match=r"temperature=4\.0 differs from the sparse teacher's 2.*from_logits"):
        losses.kl_divergence(t, SparseTeacher.from_logits(t, 2, temperature=2.0), temperature=4.0)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: SparseTeacher.from_logits(torch.zeros(2, 5), 6), ValueError, r"k=6 .*1 to .*5"),
        (lambda: SparseTeacher.from_logits(torch.zeros(2, 5), 2, dtype=torch.int8), TypeError, r"dtype=torch\.int8"),
        (
            lambda: SparseTeacher(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2)),
            TypeError,
            r"indices has dtype torch\.float32.*int32",
        ),
        (
            lambda: SparseTeacher(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int32), torch.zeros(3)),
            ValueError,
            r"log_tail \(3,\) do not fit",
        ),
        (
            lambda: losses.kl_divergence(torch.zeros(3, 5), SparseTeacher.from_logits(torch.zeros(2, 5), 2)),
            ValueError,
            r"positions \(3,\) and 5 classes.*\(2,\) and k=2",
        ),
    ],
)
def test_what_is_said(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_slices_of_a_sparse_teacher():
    t = torch.randn(6, 5)
    sparse = SparseTeacher.from_logits(t, 2)
    torch.testing.assert_close(sparse[2:4].values, SparseTeacher.from_logits(t[2:4], 2).values)
    assert sparse.to("cpu")[torch.tensor([1, 3])].log_tail.shape == (2,)
