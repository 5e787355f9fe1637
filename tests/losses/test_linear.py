"""Hidden states to divergence without logits, against the way that materialises them, in float64."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from oracle import relative, with_gradients

import distill.losses as losses
from distill.losses import (
    LinearTeacher,
    Projection,
    SparseTeacher,
    linear,
    linear_divergence,
    linear_terms,
    linear_top_k,
)


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


DIVERGENCES = {
    "forward": losses.kl_divergence,
    "reverse": losses.reverse_kl_divergence,
    "jsd": partial(losses.js_divergence, beta=0.3),
    "skew": partial(losses.skew_kl_divergence, alpha=0.1),
    "skew reverse": partial(losses.skew_reverse_kl_divergence, alpha=0.1),
}


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_a_scaled_and_bounded_head_as_materialised(name, chunk):
    (h, w, b), source = problem(torch.float64)
    teacher = Projection(source.hidden, source.weight, source.bias.double(), scale=1.7, soft_cap=4.0)
    labels = torch.randint(11, (3, 4))
    labels[1, 1:] = -100
    h[1, 1:] = float("nan")  # whatever a padded position holds
    options = {"temperature": 1.5, "reduction": "positionmean"}

    def materialised(h, w, b):
        z, t = (
            cap * torch.tanh(s * x / cap)
            for x, s, cap in (
                (h.masked_fill((labels == -100)[..., None], 0) @ w.T + b, 0.4, 3.0),
                (source.hidden @ source.weight.T + source.bias, 1.7, 4.0),
            )
        )
        soft = DIVERGENCES[name](z, t, class_dim=-1, labels=labels, **options)
        return 0.9 * soft + 0.1 * F.cross_entropy(z.flatten(0, 1), labels.flatten(), label_smoothing=0.2)

    def ours(h, w, b):
        student = Projection(h, w, b, scale=0.4, soft_cap=3.0)
        soft, hard = linear_terms(
            student, teacher, divergence=DIVERGENCES[name], hard_labels=labels, smoothing=0.2,
            weights_of=(0.9, 0.1), chunk=chunk, **options,
        )  # fmt: skip
        return 0.9 * soft + 0.1 * hard

    for found, expected in zip(with_gradients(ours, h, w, b), with_gradients(materialised, h, w, b), strict=True):
        torch.testing.assert_close(found, expected)


def test_each_term_has_its_own_gradient_too():
    (h, w, b), source = problem(torch.float64)
    labels = torch.randint(11, (3, 4))

    def part(soft_share, hard_share):
        def loss(h, w, b):
            soft, hard = linear_terms(Projection(h, w, b), source, hard_labels=labels, reduction="positionmean")
            return sum(share * term for share, term in ((soft_share, soft), (hard_share, hard)) if share)

        return with_gradients(loss, h, w, b)

    whole = part(2.0, 3.0)  # not as `weights_of` had it
    for a, s, c in zip(whole, part(1.0, 0.0), part(0.0, 1.0), strict=True):
        torch.testing.assert_close(a, 2 * s + 3 * c)


def test_a_tied_weight_and_an_adapter_on_it_get_their_gradient():
    torch.manual_seed(0)
    table, down, up = torch.randn(11, 6), torch.randn(2, 6), torch.randn(11, 2)
    tokens, source = torch.randint(11, (3, 4)), problem(torch.float32)[1]

    def ours(table, down, up):
        return linear_divergence(table[tokens].tanh(), table + 0.5 * up @ down, source)

    def materialised(table, down, up):
        z = table[tokens].tanh() @ (table + 0.5 * up @ down).T
        return losses.kl_divergence(z, logits_of(source).float(), class_dim=-1)

    found, expected = with_gradients(ours, table, down, up), with_gradients(materialised, table, down, up)
    for a, b in zip(found, expected, strict=True):
        assert relative(a, b) < 1e-5
        assert b.abs().sum() > 0


def test_accumulated_batches_of_unequal_lengths_are_one_batch():
    torch.manual_seed(0)
    h, w = torch.randn(8, 6, 5), torch.randn(11, 5)
    t = torch.randn(8, 6, 11)
    labels = torch.randint(11, (8, 6))
    lengths = torch.tensor([6, 1, 3, 2, 5, 6, 2, 1])
    labels[torch.arange(6) >= lengths[:, None]] = -100
    per_batch = int(lengths.sum()) / 4

    def split(parts):
        def loss(h, w):
            made = 0.0
            for rows in torch.arange(8).chunk(parts):
                soft, hard = linear_terms(
                    Projection(h[rows], w), t[rows], hard_labels=labels[rows], reduction="positionmean",
                    count=per_batch * 4 / parts,
                )  # fmt: skip
                made = made + (soft + hard) / parts  # as a trainer averages over accumulated batches
            return made

        return with_gradients(loss, h, w)

    whole = with_gradients(
        lambda h, w: sum(linear_terms(Projection(h, w), t, hard_labels=labels, reduction="positionmean")), h, w
    )
    for parts in (1, 4, 8):
        for a, b in zip(split(parts), whole, strict=True):
            assert relative(a, b) < 1e-6


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_top_k_of_a_projection_keeps_the_exact_tail(chunk):
    source = problem(torch.float64)[1]
    kept = linear_top_k(source, 3, (1.0, 2.0), chunk=chunk)
    wanted = SparseTeacher.from_logits(logits_of(source).flatten(0, 1), 3, temperature=2.0)
    found = kept.at(2.0)
    assert torch.equal(found.indices, wanted.indices)
    torch.testing.assert_close(found.log_tail, wanted.log_tail)
    torch.testing.assert_close(found.values, wanted.values)


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
