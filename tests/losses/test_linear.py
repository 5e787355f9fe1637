"""Hidden states to divergence without logits, against the way that materialises them, in float64."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from oracle import relative, with_gradients

import distill.losses as losses
from distill.losses import LinearTeacher, SparseTeacher, linear, linear_divergence


def problem(dtype, lead=(3, 4), hidden=6, classes=11):
    torch.manual_seed(0)
    h, w, b = torch.randn(*lead, hidden), torch.randn(classes, hidden), torch.randn(classes)
    teacher = LinearTeacher(torch.randn(*lead, 5).to(dtype), torch.randn(classes, 5).to(dtype), torch.randn(classes))
    return (h.to(dtype), w.to(dtype), b.to(dtype)), teacher


def logits_of(teacher):
    return teacher.hidden.double() @ teacher.weight.double().T + teacher.bias.double()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 4e-3)]
)
@pytest.mark.parametrize("kind", ["logits", "linear", "sparse"])
@pytest.mark.parametrize("loss", [losses.kl_divergence, partial(losses.js_divergence, beta=0.3)])
def test_as_the_materialised_way(dtype, tolerance, kind, loss, monkeypatch):
    monkeypatch.setattr(linear, "ROWS", 5)
    tensors, source = problem(dtype)
    dense = logits_of(source)
    sparse = SparseTeacher.from_logits(dense, 3, temperature=2.0, dtype=torch.float64, class_dim=-1)
    teacher = {"logits": dense, "linear": source, "sparse": sparse}[kind]
    options = {"temperature": 2.0, "reduction": "positionmean", "weights": torch.rand(3, 4, dtype=torch.float64)}
    labels = torch.randint(11, (3, 4))
    labels[0, :2] = -100

    def materialised(h, w, b):
        z = h @ w.T + b
        soft = loss(z, sparse if kind == "sparse" else dense, class_dim=-1, labels=labels, **options)
        each = F.cross_entropy(z.flatten(0, 1), labels.flatten(), reduction="none")
        weights = options["weights"] * (labels != -100)
        return 0.7 * (soft + 0.5 * (each * weights.flatten()).sum() / weights.sum())

    def ours(h, w, b):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            return 0.7 * linear_divergence(
                h, w, teacher, b, divergence=loss, hard_labels=labels, hard_weight=0.5, **options
            )

    found = with_gradients(ours, *tensors)
    expected = with_gradients(materialised, *(x.double() for x in tensors))
    assert found[0].item() == pytest.approx(expected[0].item(), rel=max(tolerance, 1e-5 if kind != "logits" else 0))
    for a, b, x in zip(found[1:], expected[1:], tensors, strict=True):
        assert a.dtype == x.dtype
        assert relative(a, b) < tolerance


@pytest.mark.parametrize("reduction", ["sum", "mean", "batchmean", "positionmean"])
def test_reductions(reduction):
    (h, w, _), source = problem(torch.float64)
    t = logits_of(source)
    mask = torch.rand(3, 4) > 0.3
    found = linear_divergence(h, w, t, reduction=reduction, mask=mask)
    expected = losses.kl_divergence(h @ w.T, t, reduction=reduction, mask=mask, class_dim=-1)
    torch.testing.assert_close(found, expected)


def test_only_what_is_trained_gets_a_gradient():
    (h, w, b), source = problem(torch.float32, lead=(4,))
    w.requires_grad_()
    linear_divergence(h, w, source, b).backward()
    assert h.grad is None
    assert w.grad.abs().sum() > 0
    with torch.no_grad():
        assert not linear_divergence(h, w, source, b).requires_grad


def test_second_derivative_is_refused():
    (h, w, _), source = problem(torch.float64, lead=(4,))
    loss = linear_divergence(h.requires_grad_(), w, source)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(loss, h, create_graph=True)


def test_empty_and_all_masked():
    (h, w, _), source = problem(torch.float32, lead=(4,))
    for hidden, teacher, mask in (
        (h[:0], logits_of(source)[:0], None),
        (h, logits_of(source), torch.zeros(4, dtype=torch.bool)),
    ):
        for reduction in ("sum", "batchmean", "positionmean"):
            value, gradient = with_gradients(
                lambda x, t=teacher, m=mask, r=reduction: linear_divergence(x, w, t, mask=m, reduction=r), hidden
            )
            assert value.item() == 0
            assert (gradient == 0).all()


def test_small_gradients_survive_a_loss_scale():
    torch.manual_seed(0)
    h, w, t = torch.randn(64, 8).half(), torch.randn(1000, 8).half(), torch.randn(64, 1000)
    scale = 2.0**16
    found = with_gradients(lambda a: linear_divergence(a, w, t, reduction="mean") * scale, h)[1]
    expected = with_gradients(lambda a: linear_divergence(a, w, t, reduction="mean"), h.double())[1]
    assert relative(found.double() / scale, expected) < 1e-2


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"weight": torch.zeros(5, 3)}, ValueError, r"hidden has shape \(2, 4\) and weight \(5, 3\)"),
        ({"weight": torch.zeros(5, 4).int()}, TypeError, r"weight has dtype torch\.int32"),
        ({"bias": torch.zeros(4)}, ValueError, r"bias has shape \(4,\); expected \(5,\)"),
        ({"teacher": torch.zeros(2, 6)}, ValueError, r"teacher has positions \(2,\) and 6 classes"),
        ({"reduction": "none"}, ValueError, r"reduction='none'.*'batchmean'"),
        ({"class_dim": 1}, ValueError, r"class_dim=1: .*last"),
        ({"temperature": torch.ones(2)}, TypeError, r"temperature is a tensor"),
        ({"mask": torch.ones(3, dtype=torch.bool)}, ValueError, r"mask has shape \(3,\).*\(2,\)"),
        ({"hard_labels": torch.ones(3).long()}, ValueError, r"labels has shape \(3,\).*\(2,\)"),
    ],
)
def test_what_is_said(change, error, says):
    arguments = {"hidden": torch.zeros(2, 4), "weight": torch.zeros(5, 4), "teacher": torch.zeros(2, 5), **change}
    with pytest.raises(error, match=says):
        linear_divergence(**arguments)
