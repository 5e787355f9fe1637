"""Feature methods of single layers against their papers' formulas, written out sample by sample in float64."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from feature_arrays import (
    CLASSES,
    N,
    array,
    block_means,
    bottleneck,
    close,
    convolve,
    draw,
    normalise,
    outputs,
    run,
)
from torch import Tensor, nn

from distill.methods import CWD, MGD, OFD, SRRL, VID, FitNet, SimKD
from distill.types import Batch


def test_fitnet() -> None:
    students, teachers = (
        [draw(3, 4, 4, seed=1), draw(4, 4, 4, seed=2)],
        [draw(5, 4, 4, seed=3), draw(2, 4, 4, seed=4).relu()],
    )
    method = FitNet()
    value = run(method, outputs(*students), outputs(*teachers))["fitnet"]
    layers = []
    for i, (s, t) in enumerate(zip(students, teachers, strict=True)):
        regressor = method.regressors[i]
        assert len(regressor) == (3 if i else 2), "a ReLU only towards features without negative values"
        squares = []
        for n in range(N):
            y = normalise(regressor[1], convolve(regressor[0], array(s[n])))
            squares.append((np.maximum(y, 0) if i else y) - array(t[n]))
        layers.append(np.mean(np.square(squares)))
    close(value, float(np.mean(layers)))


def test_vid() -> None:
    s, t = draw(3, 4, 4, seed=1), draw(5, 4, 4, seed=2)
    method = VID(variance=2.0)
    value = run(method, outputs(s), outputs(t))["vid"]
    torch.testing.assert_close(F.softplus(method.scales[0]).detach() + 1e-5, torch.full((5,), 2.0, dtype=torch.float64))
    total = 0.0
    for n in range(N):
        mu = array(s[n])
        for layer in (0, 2, 4):
            mu = convolve(method.means[0][layer], mu if layer == 0 else np.maximum(mu, 0))
        for c in range(5):
            variance = math.log(1 + math.exp(method.scales[0][c].item())) + 1e-5
            for y, x in np.ndindex(4, 4):
                total += ((t[n, c, y, x].item() - mu[c, y, x]) ** 2 / variance + math.log(variance)) / 2
    close(value, total / t.numel())


def test_ofd() -> None:
    students, teachers = [draw(3, 2, 2, seed=1), draw(4, 2, 2, seed=2)], [draw(5, 2, 2, seed=3), draw(2, 2, 2, seed=4)]
    method = OFD()
    value = run(method, outputs(*students), outputs(*teachers))["ofd"]
    total = 0.0
    for i, (s, t) in enumerate(zip(students, teachers, strict=True)):
        margins = []
        for c in range(t.shape[1]):
            negative = [v for v in t[:, c].flatten().tolist() if v < 0]
            margins.append(sum(negative) / len(negative))
        for n in range(N):
            y = normalise(method.connectors[i][1], convolve(method.connectors[i][0], array(s[n])))
            for c, h, w in np.ndindex(y.shape):
                target = max(t[n, c, h, w].item(), margins[c])
                if not (y[c, h, w] <= target and target <= 0):
                    total += (y[c, h, w] - target) ** 2 / N / 2 ** (1 - i)
    close(value, total)


def test_ofd_margins_follow_the_teacher_in_training_alone() -> None:
    s, t = draw(3, 2, 2, seed=1), draw(5, 2, 2, seed=3)
    method = OFD(margin_momentum=0.25)
    run(method, outputs(s), outputs(t))
    before = method.margin0.clone()
    method.compute_losses(outputs(s), outputs(3 * t), Batch(s, s))
    assert torch.equal(method.margin0, before)
    method.train().compute_losses(outputs(s), outputs(3 * t), Batch(s, s))
    torch.testing.assert_close(method.margin0, before * (0.75 + 0.25 * 3))
    method.compute_losses(outputs(s), outputs(t.relu()), Batch(s, s))
    torch.testing.assert_close(method.margin0, before * 1.5)


def test_cwd() -> None:
    s, t, T = draw(3, 4, 4, seed=1), draw(5, 4, 4, seed=2), 3.0
    method = CWD(temperature=T)
    value = run(method, outputs(s), outputs(t))["cwd"]
    total = 0.0
    for n in range(N):
        y = convolve(method.projectors[0], array(s[n]))
        for c in range(5):
            p, q = (np.exp(v.ravel() / T) / np.exp(v.ravel() / T).sum() for v in (array(t[n, c]), y[c]))
            total += float((p * np.log(p / q)).sum())
    close(value, T**2 * total / (N * 5))


def test_mgd_unmasked() -> None:
    s, t = draw(3, 4, 4, seed=1), draw(5, 4, 4, seed=2)
    method = MGD(masked=0.0)
    value = run(method, outputs(s), outputs(t))["mgd"]
    first, second = method.generators[0][0], method.generators[0][2]
    total = 0.0
    for n in range(N):
        y = torch.from_numpy(convolve(method.projectors[0], array(s[n])))[None]
        y = F.conv2d(
            F.conv2d(y, first.weight, first.bias, padding=1).clamp(min=0), second.weight, second.bias, padding=1
        )
        total += float(np.square(array(y[0]) - array(t[n])).sum())
    close(value, total / N)


@pytest.mark.parametrize("mask", ["channels", "positions"])
def test_mgd_masks_what_it_says(mask: str) -> None:
    s = draw(40, 6, 6, seed=1).abs() + 1
    method = MGD(masked=0.3, mask=mask)  # type: ignore[arg-type]
    run(method, outputs(s), outputs(s))
    seen: list[Tensor] = []
    method.generators[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(1)
    for _ in range(2):
        method.compute_losses(outputs(s), outputs(s), Batch(s, s))
    kept = seen[0] != 0
    assert torch.equal(seen[0], s * kept)
    groups = kept.double().mean((2, 3) if mask == "channels" else 1)
    assert ((groups == 0) | (groups == 1)).all(), "a channel, or a position, goes as a whole"
    assert abs((1 - kept.double().mean().item()) - 0.3) < 0.15
    assert not torch.equal(seen[0], seen[1])


def test_srrl() -> None:
    s, e = draw(3, 4, 4, seed=1), draw(5, seed=2).relu()
    classifier = nn.Linear(5, CLASSES).double()
    logits = classifier(e).detach()
    method = SRRL()
    terms = run(method, outputs(s), outputs(e, logits=logits), classifier)
    feature = answer = 0.0
    for n in range(N):
        r = np.maximum(normalise(method.connector[1], convolve(method.connector[0], array(s[n]))), 0).mean((1, 2))
        feature += float(np.square(r - array(e[n])).mean()) / N
        z = array(classifier.weight) @ r + array(classifier.bias)
        answer += float(np.square(z - array(logits[n])).mean()) / N
    close(terms["srrl_feature"], feature)
    close(terms["srrl_logits"], answer)


def test_simkd() -> None:
    s, t = draw(3, 4, 4, seed=1), draw(6, 2, 2, seed=2).relu()
    classifier = nn.Linear(6, CLASSES).double()
    method = SimKD(factor=3.0)
    value = run(method, outputs(s), outputs(t, logits=classifier(t.mean((2, 3))).detach()), classifier)["simkd"]
    layers = method.head.projector
    assert layers[0].out_channels == 2
    total = 0.0
    for n in range(N):
        y = normalise(layers[7], bottleneck(layers, block_means(array(s[n]), 2)))
        total += float(np.square(np.maximum(y, 0) - array(t[n])).mean()) / N
    close(value, total)
