"""Values, gradients and reductions of all divergences against the float64 oracle."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import ALL, oracle, relative, with_gradients

import distill.losses as losses
from distill.losses import engine

TOLERANCE = {torch.float64: 1e-11, torch.float32: 3e-5, torch.bfloat16: 6e-3, torch.float16: 2e-3}


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_value_and_both_gradients(name, data):
    rows, classes = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 9))
    dtype = data.draw(st.sampled_from(list(TOLERANCE)))
    temperature = data.draw(st.sampled_from([0.5, 1.0, 3.0]))
    spread = data.draw(st.sampled_from([1.0, 4.0]))
    size = data.draw(st.sampled_from([engine.CPU_CHUNK, 8]))
    forced_dtype = data.draw(st.sampled_from([None, torch.float64]))  # as on a GPU where logits are few
    torch.manual_seed(data.draw(st.integers(0, 99)))
    s, t = (torch.randn(rows, classes).mul(spread).to(dtype) for _ in range(2))
    loss, keywords = ALL[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "CPU_CHUNK", size)
        patch.setattr(engine, "forced_dtype", lambda x: forced_dtype)
        found = with_gradients(lambda a, b: 0.7 * loss(a, b, temperature=temperature, **keywords), s, t)
    expected = with_gradients(lambda a, b: 0.7 * oracle(name, a, b, temperature).sum() / rows, s.double(), t.double())
    assert found[0].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert found[1].dtype == found[2].dtype == dtype
    assert abs(found[0].item() - expected[0].item()) <= TOLERANCE[torch.float32] * abs(expected[0].item()) + 1e-9
    for a, b in zip(found[1:], expected[1:], strict=True):
        assert (a.double() - b).abs().max() <= TOLERANCE[dtype] * b.abs().max() + 2e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", ALL)
def test_a_gpu_finds_what_is_infinite_as_a_processor_does(name, dtype, monkeypatch):
    loss, keywords = ALL[name]
    s, t = (
        torch.tensor([[1.0, 2.0, 0.5], [0.3, -1.0, 0.0]], dtype=dtype),
        torch.tensor([[0.0, 1.0, 0.5]] * 2, dtype=dtype),
    )
    masked = torch.tensor([[False, False, True], [False, False, False]])
    for a, b in ((s.masked_fill(masked, -torch.inf), t), (s, t.masked_fill(masked, -torch.inf))):
        expected = with_gradients(lambda a, b: loss(a, b, **keywords), a, b)[0]
        with monkeypatch.context() as patch:
            patch.setattr(engine, "forced_dtype", lambda x: torch.float64)
            found = with_gradients(lambda a, b: loss(a, b, **keywords), a, b)[0]
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ALL)
def test_first_and_second_derivatives(name):
    torch.manual_seed(0)
    loss, keywords = ALL[name]
    s, t = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    temperature = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    per_row = torch.tensor([0.8, 1.5, 3.0], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64, requires_grad=True)
    cases = [
        (lambda s, t: loss(s, t, temperature=2.0, **keywords), (s, t)),
        (lambda s, t: loss(s, t, temperature=per_row.detach(), **keywords), (s, t)),
        (lambda s, t: loss(s, t, reduction="none", **keywords), (s, t)),
        (lambda s, t, u: loss(s, t, temperature=u, **keywords), (s, t, temperature)),
        (
            lambda s, t, u, w: loss(s, t, temperature=u, weights=w, reduction="positionmean", **keywords),
            (s, t, per_row, weights),
        ),
    ]
    for function, inputs in cases:
        assert torch.autograd.gradcheck(function, inputs)
        if name != "tv":  # whose second derivative of |p - q| is 0 by convention, and its kinks no test of it
            assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("log_target", [True, False])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "batchmean"])
@pytest.mark.parametrize("shape", [(4, 5), (2, 5, 3), (2, 5, 3, 2)])
def test_reductions_are_those_of_kl_div_loss(shape, reduction, log_target):
    torch.manual_seed(0)
    s, t = torch.randn(2, *shape)
    target = F.log_softmax(t, 1) if log_target else F.softmax(t, 1)
    expected = torch.nn.KLDivLoss(reduction=reduction, log_target=log_target)(F.log_softmax(s, 1), target)
    found = losses.kl_divergence(s, t, reduction=reduction, log_target=log_target)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected)


def test_position_mean_follows_mask_and_weights():
    torch.manual_seed(0)
    s, t = torch.randn(2, 2, 5, 3)
    rows = oracle("kl", s, t).sum(1)
    assert losses.kl_divergence(s, t, reduction="positionmean").item() == pytest.approx(rows.mean().item(), rel=1e-5)
    mask, weights = torch.rand(2, 3) > 0.4, torch.rand(2, 3)
    found = losses.kl_divergence(s, t, reduction="positionmean", mask=mask, weights=weights)
    expected = (rows * mask * weights).sum() / (mask * weights).sum()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("memory", ["contiguous", "sliced", "permuted", "expanded", "channels_last"])
@pytest.mark.parametrize("class_dim", [0, 1, 2, 3, -1])
def test_classes_anywhere_in_any_layout(class_dim, memory, monkeypatch):
    monkeypatch.setattr(engine, "CPU_CHUNK", 12)
    torch.manual_seed(0)
    s, t = torch.randn(2, 2, 3, 4, 5)
    s = {
        "contiguous": lambda: s,
        "sliced": lambda: torch.randn(2, 3, 4, 10)[..., ::2],
        "permuted": lambda: torch.randn(5, 3, 2, 4).permute(2, 1, 3, 0),
        "expanded": lambda: torch.randn(2, 1, 4, 5).expand(2, 3, 4, 5),
        "channels_last": lambda: s.to(memory_format=torch.channels_last),
    }[memory]()
    positions = s.movedim(class_dim, -1).shape[:-1]
    mask, weights, temperature = torch.rand(positions) > 0.3, torch.rand(positions), 1 + torch.rand(positions)

    def expected(a, b):
        a, b, u = a.movedim(class_dim, -1), b.movedim(class_dim, -1), temperature.unsqueeze(-1)
        rows = F.kl_div(F.log_softmax(a / u, -1), F.log_softmax(b / u, -1), reduction="none", log_target=True).sum(-1)
        return (rows * temperature**2 * weights * mask).sum()

    options = {"temperature": temperature, "mask": mask, "weights": weights, "class_dim": class_dim}
    value = losses.kl_divergence(s, t, reduction="sum", **options)
    each = losses.kl_divergence(s, t, reduction="none", **options)
    torch.testing.assert_close(value, expected(s, t))
    torch.testing.assert_close(each.sum(), expected(s, t))
    torch.testing.assert_close(each.movedim(class_dim, -1).sum(-1) == 0, ~mask)
    for reduction in ("sum", "none"):
        a, b = s.detach().requires_grad_(), t.clone().requires_grad_()
        losses.kl_divergence(a, b, reduction=reduction, **options).sum().backward()
        for x, y in zip((a.grad, b.grad), with_gradients(expected, s, t)[1:], strict=True):
            torch.testing.assert_close(x, y)


def test_given_probabilities_are_used_as_given():
    torch.manual_seed(0)
    s, t = torch.randn(2, 4, 6)
    p = F.softmax(t, 1)
    p[0, 2] = 0
    for form, given_teacher in (("probabilities", p), ("log_probabilities", p.log())):
        for a in (s, s.to(torch.bfloat16)):
            value, gradient = with_gradients(
                lambda x, y=given_teacher, f=form: losses.kl_divergence(x, y, temperature=3.0, teacher_is=f), a
            )
            expected = with_gradients(
                lambda x: F.kl_div(F.log_softmax(x / 3.0, 1), p.double(), reduction="batchmean") * 9, a.double()
            )
            torch.testing.assert_close(value.double(), expected[0], rtol=1e-5, atol=1e-6)
            assert relative(gradient, expected[1]) < (1e-2 if a is not s else 1e-5)
    learned = p.clone().requires_grad_()
    losses.kl_divergence(s, learned, teacher_is="probabilities").backward()
    assert learned.grad[1:].isfinite().all()


def test_one_value_per_sample_serves_all_its_positions():
    torch.manual_seed(0)
    s, t = torch.randn(2, 3, 5, 2, 2)
    keep, weights = torch.tensor([True, False, True]), torch.tensor([2.0, 1.0, 0.5])
    found = losses.kl_divergence(s, t, mask=keep, weights=weights, temperature=torch.tensor([1.0, 2.0, 4.0]))
    rows = [oracle("kl", s[i : i + 1], t[i : i + 1], u).sum() for i, u in enumerate([1.0, 2.0, 4.0])]
    assert found.item() == pytest.approx((2 * rows[0] + 0.5 * rows[2]).item() / 3, rel=1e-5)


def test_labels_to_ignore_leave_positions_out():
    torch.manual_seed(0)
    s, t = torch.randn(2, 2, 3, 5)
    labels = torch.tensor([[1, -100, 2], [-100, 0, 4]])
    found = losses.kl_divergence(s, t, class_dim=-1, labels=labels, reduction="positionmean")
    expected = losses.kl_divergence(s, t, class_dim=-1, mask=labels != -100, reduction="positionmean")
    other = losses.kl_divergence(s, t, class_dim=-1, labels=labels, ignore_index=4, reduction="positionmean")
    assert found == expected != other


def test_the_factor_of_temperature_can_be_left_out():
    torch.manual_seed(0)
    s, t = torch.randn(2, 4, 5)
    with_factor = losses.kl_divergence(s, t, temperature=3.0)
    without = losses.kl_divergence(s, t, temperature=3.0, temperature_squared=False)
    torch.testing.assert_close(with_factor, without * 9)


@pytest.mark.parametrize("temperature", [1, 4, 20])
def test_golden_values(temperature):
    golden = np.load(Path(__file__).parents[1] / "golden" / "losses.npz")
    s, t = (torch.from_numpy(golden[f"in/{who}_logits"]) for who in ("student", "teacher"))
    found = losses.kl_divergence(s, t, temperature=temperature)
    assert found.item() == pytest.approx(golden[f"out/kd temperature={temperature}"].item(), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(beta=st.floats(0.01, 0.99), seed=st.integers(0, 999))
def test_js_is_bounded_and_symmetric(beta, seed):
    torch.manual_seed(seed)
    s, t = torch.randn(2, 3, 5, dtype=torch.float64) * 5
    found = losses.js_divergence(s, t, beta=beta, reduction="sum").item() / 3
    assert 0 <= found <= -(beta * np.log(beta) + (1 - beta) * np.log(1 - beta))
    assert found == pytest.approx(losses.js_divergence(t, s, beta=1 - beta, reduction="sum").item() / 3, rel=1e-9)
