"""Every way in which divergences are known to go wrong, one test each."""

import pytest
import torch
import torch.nn.functional as F
from oracle import ALL, oracle, relative, with_gradients

import distill.losses as losses
from distill.losses import engine

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])


def expected_of(name, s, t, temperature=1.0):
    return with_gradients(lambda a, b: oracle(name, a, b, temperature).sum() / len(s), s.double(), t.double())


def assert_as_oracle(name, s, t, temperature=1.0, tolerance=1e-4):
    loss, keywords = ALL[name]
    found = with_gradients(lambda a, b: loss(a, b, temperature=temperature, **keywords), s, t)
    expected = expected_of(name, s, t, temperature)
    assert found[0].item() == pytest.approx(expected[0].item(), rel=tolerance)
    for a, b in zip(found[1:], expected[1:], strict=True):
        assert (a - b).abs().max() <= tolerance * b.abs().max() + 1e-7 * temperature


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ALL)
def test_autocast_and_half_precision_do_not_round_the_arithmetic(name, dtype, device):
    torch.manual_seed(0)
    s, t = (torch.randn(4, 3000, device=device).mul(3).to(dtype) for _ in range(2))
    loss, keywords = ALL[name]
    with torch.autocast(device, dtype=dtype):
        found = with_gradients(lambda a, b: loss(a, b, temperature=2.0, **keywords), s, t)
    expected = expected_of(name, s, t, 2.0)
    assert found[0].item() == pytest.approx(expected[0].item(), rel=1e-4)
    for a, b in zip(found[1:], expected[1:], strict=True):
        assert a.dtype == dtype
        # of normal numbers, rounding once is all that half precision costs
        large = b.abs() > 1e-3 * b.abs().max()
        assert ((a.double() - b).abs()[large] <= (torch.finfo(dtype).eps + 1e-3) * b.abs()[large] + 6e-8).all()


@pytest.mark.parametrize("chunk", [100, 1 << 19])  # gradients wait for backward; are kept in float32 until then
def test_loss_scale_arrives_before_half_precision_rounds(chunk, monkeypatch):
    monkeypatch.setattr(engine, "CPU_CHUNK", chunk)
    torch.manual_seed(0)
    s, t = (torch.randn(64, 1000).half() for _ in range(2))
    scale = 2.0**16
    unscaled = with_gradients(lambda a: losses.kl_divergence(a, t, reduction="mean"), s.double())[1]
    found = with_gradients(lambda a: losses.kl_divergence(a, t, reduction="mean") * scale, s)[1]
    assert (found != 0).double().mean() > 0.99
    assert relative(found.double() / scale, unscaled) < 1e-2


@pytest.mark.parametrize("device", [CUDA])
def test_grad_scaler(device):
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 100, device=device)
    x, t = torch.randn(16, 8, device=device), torch.randn(16, 100, device=device)
    optimizer, scaler = torch.optim.SGD(layer.parameters(), 0.1), torch.amp.GradScaler(device)
    with torch.autocast(device, dtype=torch.float16):
        loss = losses.kl_divergence(layer(x), t)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**16
    assert all(p.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("name", [n for n in ALL if n != "cross_entropy"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("log_target", [True, False])
def test_identical_inputs_give_zero(name, dtype, log_target):
    s = torch.randn(8, 500, generator=torch.manual_seed(0)).mul(5).to(dtype)
    loss, keywords = ALL[name]
    if name == "kl":
        keywords = {"log_target": log_target}
    value, gradient = with_gradients(lambda a: loss(a, s, **keywords), s)
    assert abs(value.item()) < 1e-12
    if name != "tv":  # whose kink is there
        assert gradient.abs().max() < 1e-7


@pytest.mark.parametrize("temperature", [0.05, 0.3, 1.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize("name", ALL)
def test_temperatures_small_and_large(name, temperature):
    torch.manual_seed(0)
    s, t = torch.randn(2, 8, 100)
    assert_as_oracle(name, s, t, temperature, tolerance=2e-3 if temperature > 100 else 3e-4)


def test_the_limit_of_large_temperatures():
    torch.manual_seed(0)
    s, t = torch.randn(2, 8, 100)
    z = s - t
    limit = (z - z.mean(1, keepdim=True)).square().sum() / (2 * 100) / 8
    assert losses.kl_divergence(s, t, temperature=1e4).item() == pytest.approx(limit.item(), rel=1e-3)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_classes_masked_on_both_sides_add_nothing(name, reduction):
    torch.manual_seed(0)
    s, t = torch.randn(2, 4, 7)
    masked = [x.clone() for x in (s, t)]
    for x in masked:
        x[:, [2, 5]] = -float("inf")
    loss, keywords = ALL[name]
    found = with_gradients(lambda a, b: loss(a, b, reduction=reduction, **keywords).sum(), *masked)
    kept = [0, 1, 3, 4, 6]
    expected = with_gradients(lambda a, b: loss(a, b, reduction=reduction, **keywords).sum(), s[:, kept], t[:, kept])
    torch.testing.assert_close(found[0], expected[0])
    for a, b in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(a[:, kept], b)
        assert (a[:, [2, 5]] == 0).all()


def test_a_class_masked_on_one_side():
    torch.manual_seed(0)
    s, t = torch.randn(2, 4, 7)
    masked = t.clone()
    masked[:, 3] = -float("inf")
    value, gradient = with_gradients(lambda a: losses.kl_divergence(a, masked), s)
    p, q = F.softmax(masked.double(), 1), F.softmax(s.double(), 1)
    assert value.item() == pytest.approx(F.kl_div(q.log(), p, reduction="batchmean").item(), rel=1e-5)
    torch.testing.assert_close(gradient.double(), (q - p) / 4, rtol=1e-5, atol=1e-7)
    for loss in (losses.js_divergence, losses.total_variation, losses.skew_reverse_kl_divergence):
        assert loss(s, masked).isfinite()
        assert loss(masked, s).isfinite()
    assert losses.kl_divergence(masked, s).item() == float("inf")  # the student rules out what the teacher does not
    assert losses.reverse_kl_divergence(s, masked).item() == float("inf")
    gradient = with_gradients(lambda a: losses.kl_divergence(a, s), masked)[1]
    assert gradient.isfinite().all()


def test_learned_temperature_with_masked_classes():
    s = torch.tensor([[1.0, -float("inf"), 0.5]])
    t = torch.tensor([[0.2, -float("inf"), 0.9]])
    temperature = torch.tensor(2.0, requires_grad=True)
    losses.kl_divergence(s, t, temperature=temperature).backward()
    bare = torch.tensor(2.0, requires_grad=True)
    losses.kl_divergence(s[:, [0, 2]], t[:, [0, 2]], temperature=bare).backward()
    torch.testing.assert_close(temperature.grad, bare.grad)


@pytest.mark.parametrize("name", ["js", "skew", "skew_reverse"])
def test_mixtures_where_both_sides_underflow(name):
    s, t = torch.tensor([[0.0, 300.0, -300.0]]), torch.tensor([[1.0, 299.0, -310.0]])
    assert_as_oracle(name, s, t, tolerance=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_large_logits_with_a_common_offset(name):
    torch.manual_seed(0)
    s, t = torch.randn(2, 4, 50).mul(64).round() / 64  # exact at 1e4 too
    loss, keywords = ALL[name]
    for temperature in (0.5, 1.0, 4.0):
        plain = with_gradients(lambda a, u=temperature: loss(a, t, temperature=u, **keywords), s)
        moved = with_gradients(lambda a, u=temperature: loss(a, t - 1e4, temperature=u, **keywords), s + 1e4)
        torch.testing.assert_close(moved[0], plain[0], rtol=2e-3, atol=1e-4)
        torch.testing.assert_close(moved[1], plain[1], rtol=5e-3, atol=1e-4)


def test_half_precision_is_widened_before_the_temperature_divides():
    s, t = torch.tensor([[1e4, 0.0]], dtype=torch.float16), torch.tensor([[0.0, 1e4]], dtype=torch.float16)
    assert losses.kl_divergence(s, t, temperature=0.1, temperature_squared=False).item() == pytest.approx(1e5)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "batchmean", "positionmean"])
@pytest.mark.parametrize("learned", [True, False])
def test_nothing_to_measure_is_a_zero_with_a_graph(name, reduction, learned):
    loss, keywords = ALL[name]
    temperature = torch.tensor(2.0, requires_grad=learned)
    cases = [
        (torch.randn(0, 5), {}),
        (torch.randn(3, 5), {"mask": torch.zeros(3, dtype=torch.bool)}),
        (torch.full((3, 5), float("nan")), {"mask": torch.zeros(3, dtype=torch.bool)}),
        (torch.randn(3, 5), {"weights": torch.zeros(3)}),
        (torch.randn(2, 5, 0), {}),
    ]
    for s, options in cases:
        s.requires_grad_()
        value = loss(s, s.detach().clone(), temperature=temperature, reduction=reduction, **options, **keywords).sum()
        value.backward()
        assert value.item() == 0
        assert (s.grad == 0).all()


def test_rows_left_out_may_hold_anything():
    torch.manual_seed(0)
    s, t = torch.randn(2, 3, 5)
    mask = torch.tensor([True, False, True])
    expected = with_gradients(lambda a, b: losses.kl_divergence(a, b, mask=mask), s, t)
    s[1], t[1] = float("nan"), float("inf")
    for found, value in zip(
        with_gradients(lambda a, b: losses.kl_divergence(a, b, mask=mask), s, t), expected, strict=True
    ):
        torch.testing.assert_close(found, value)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_one_class(name, dtype):
    loss, keywords = ALL[name]
    value, gradient = with_gradients(
        lambda a: loss(a, torch.zeros(3, 1, dtype=dtype), **keywords), torch.ones(3, 1, dtype=dtype)
    )
    assert abs(value.item()) < 1e-12
    assert gradient.double().abs().max() < 1e-12


def test_one_confident_row_does_not_hide_another():
    s, t = torch.tensor([[90.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 90.0], [0.0, 1.001]])
    assert_as_oracle("kl", s, t)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_retained_graph_can_be_used_again(dtype):
    torch.manual_seed(0)
    s = torch.randn(3, 5).to(dtype).requires_grad_()
    loss = losses.kl_divergence(s, torch.randn(3, 5), temperature=2.0)
    (first,) = torch.autograd.grad(loss, s, retain_graph=True)
    kept = first.clone()
    (second,) = torch.autograd.grad(loss, s, torch.tensor(3.0), retain_graph=True)
    first.zero_()
    (third,) = torch.autograd.grad(loss, s)
    torch.testing.assert_close(second, kept * 3)
    torch.testing.assert_close(third, kept)


def test_a_teacher_without_gradient_gets_none():
    s, t = torch.randn(3, 5, requires_grad=True), torch.randn(3, 5)
    losses.js_divergence(s, t).backward()
    assert t.grad is None
    frozen, learner = torch.randn(3, 5), torch.randn(3, 5, requires_grad=True)
    losses.js_divergence(frozen, learner).backward()
    assert frozen.grad is None
    assert learner.grad.abs().sum() > 0


def test_mixed_dtypes_meet_in_the_wider():
    torch.manual_seed(0)
    s, t = torch.randn(4, 9).to(torch.bfloat16), torch.randn(4, 9)
    found = with_gradients(lambda a, b: losses.kl_divergence(a, b), s, t)
    expected = expected_of("kl", s, t)
    assert found[0].item() == pytest.approx(expected[0].item(), rel=1e-5)
    assert found[1].dtype == torch.bfloat16
    assert found[2].dtype == torch.float32
    assert relative(found[2], expected[2]) < 1e-5


@pytest.mark.parametrize("name", ["kl", "js"])
def test_many_chunks_equal_one(name, monkeypatch):
    torch.manual_seed(0)
    s, t = torch.randn(2, 40, 33)
    loss, keywords = ALL[name]
    whole = with_gradients(lambda a, b: loss(a, b, weights=torch.arange(40.0), **keywords), s, t)
    monkeypatch.setattr(engine, "CPU_CHUNK", 100)
    for a, b in zip(
        with_gradients(lambda a, b: loss(a, b, weights=torch.arange(40.0), **keywords), s, t), whole, strict=True
    ):
        torch.testing.assert_close(a, b)
