"""Methods for maps, masks and boxes against their papers' formulas, written out position by position in float64."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from feature_arrays import N, array, close, convolve, draw, outputs, run
from torch import Tensor, nn

from distill.boxes import pack
from distill.methods import CIRKD, FGD, IFVD, LD, PKD, SKD, CWDLogits, Example, Method
from distill.types import Batch, Outputs

BOXES = [[(0.0, 1.0, 5.0, 6.0, 2)], [(2.0, 2.0, 7.9, 4.0, 0), (3.0, 0.0, 8.0, 8.0, 1)], []]


def terms(method: Method, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
    """Unweighted, in float64, of two networks whose features are tapped in order."""
    torch.manual_seed(0)
    method.taps = type(method.taps)(tuple(student.features), tuple(teacher.features))
    method.setup(Example(student, teacher, torch.zeros(N, dtype=torch.long)))
    return method.double().compute_losses(student, teacher, batch)


def test_pkd_is_one_less_pearsons_correlation() -> None:
    students, teachers = [draw(3, 4, 4, seed=1), draw(5, 2, 2, seed=2)], [draw(5, 4, 4, seed=3), draw(5, 2, 2, seed=4)]
    method = PKD()
    value = run(method, outputs(*students), outputs(*teachers))["pkd"]
    total = 0.0
    for i, (s, t) in enumerate(zip(students, teachers, strict=True)):
        mapped = np.stack([array(s[n]) if i else convolve(method.projectors[0], array(s[n])) for n in range(N)])
        total += 1 - np.mean([np.corrcoef(mapped[:, c].ravel(), array(t)[:, c].ravel())[0, 1] for c in range(5)])
    close(value, float(total))


def test_pkd_does_not_see_scale_and_offset() -> None:
    t = draw(4, 4, 4, seed=3)
    assert run(PKD(), outputs(3 * t + 2), outputs(t))["pkd"].item() == pytest.approx(0, abs=1e-12)
    assert run(PKD(), outputs(torch.ones_like(t)), outputs(t))["pkd"].item() == 1, "a constant channel follows nothing"


def softmax(values: np.ndarray) -> np.ndarray:
    shares: np.ndarray = np.exp(values - values.max()) / np.exp(values - values.max()).sum()
    return shares


def attention(x: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Of positions (H, W) and channels (C,) of one map (C, H, W), as the published code has them."""
    channels, height, width = x.shape
    places = softmax(np.abs(x).mean(0).ravel() / temperature).reshape(height, width) * height * width
    return places, softmax(np.abs(x).mean((1, 2)) / temperature) * channels


def masks(boxes: list[tuple[float, ...]], side: int, image: float) -> tuple[np.ndarray, np.ndarray]:
    inside = np.zeros((side, side))
    for left, top, right, bottom, _ in boxes:
        x0, y0 = (math.floor(edge / image * side) for edge in (left, top))
        x1, y1 = (math.ceil(edge / image * side) for edge in (right, bottom))
        part = inside[y0 : y1 + 1, x0 : x1 + 1]
        part[:] = np.maximum(part, 1 / (y1 + 1 - y0) / (x1 + 1 - x0))
    outside = (inside == 0).astype(float)
    return inside, outside / max(1.0, outside.sum())


def context(block: nn.Module, x: np.ndarray) -> np.ndarray:
    shares = softmax(convolve(block.attend, x).ravel())
    mean = torch.from_numpy((x.reshape(len(x), -1) * shares).sum(1))
    first, norm, _, last = block.add
    hidden = first.weight[:, :, 0, 0] @ mean + first.bias
    hidden = (hidden - hidden.mean()) / (hidden.var(correction=0) + norm.eps).sqrt()
    hidden = (hidden * norm.weight.flatten() + norm.bias.flatten()).relu()
    return x + array(last.weight[:, :, 0, 0] @ hidden + last.bias)[:, None, None]


def test_fgd() -> None:
    s, t = draw(3, 4, 4, seed=1), draw(4, 4, 4, seed=2)
    method, batch = FGD(), Batch(torch.zeros(N, 1, 8, 8), pack(BOXES))
    torch.manual_seed(0)
    method.taps = type(method.taps)(("0",), ("0",))
    method.setup(Example(outputs(s), outputs(t), torch.zeros(N, dtype=torch.long)))
    for block in (method.student_context[0], method.teacher_context[0]):
        nn.init.normal_(block.add[-1].weight)  # which start at zero
    found = method.double().compute_losses(outputs(s), outputs(t), batch)
    expected = dict.fromkeys(("fgd_foreground", "fgd_background", "fgd_attention", "fgd_relation"), 0.0)
    for n in range(N):
        ours, theirs = convolve(method.projectors[0], array(s[n])), array(t[n])
        (places, channels), own = attention(theirs, 0.5), attention(ours, 0.5)
        gaps = ((ours - theirs) ** 2 * places * channels[:, None, None]).sum(0)
        inside, outside = masks(BOXES[n], 4, 8.0)
        expected["fgd_foreground"] += float((gaps * inside).sum()) / N
        expected["fgd_background"] += float((gaps * outside).sum()) / N
        expected["fgd_attention"] += float(np.abs(own[0] - places).sum() + np.abs(own[1] - channels).sum()) / N
        apart = context(method.student_context[0], ours) - context(method.teacher_context[0], theirs)
        expected["fgd_relation"] += float(np.square(apart).sum()) / N
    for name, value in expected.items():
        close(found[name], value)
    assert method.weight_of("fgd_relation") == 5e-6
    assert method.weight_of("ce") == 1


def test_ld_weighs_edges_by_the_teachers_score() -> None:
    s, t = draw(4, 6, 10, seed=1), draw(4, 6, 10, seed=2)
    logits = draw(5, 10, seed=3)
    ours, theirs = Outputs(draw(5, 10, seed=4), {"boxes": s}), Outputs(logits, {"boxes": t})
    value = terms(LD(temperature=3.0), ours, theirs, Batch(torch.zeros(N, 1, 8, 8), pack(BOXES)))["ld"]
    total, weights = 0.0, 0.0
    for n, a in np.ndindex(N, 10):
        score = float(logits[n, :, a].sigmoid().max())
        weights += score
        for edge in range(4):
            p, q = (softmax(array(x[n, edge, :, a]) / 3) for x in (t, s))
            total += score * 9 * float((p * np.log(p / q)).sum()) / 4
    close(value, total / weights)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [(((4, 10), (4, 10)), "a distribution for each edge"), (((4, 6, 10), (4, 8, 10)), "as many bins")],
)
def test_ld_says_what_detectors_it_takes(shapes: tuple[tuple[int, ...], ...], says: str) -> None:
    ours, theirs = (Outputs(torch.zeros(N, 5, 10), {"boxes": torch.zeros(N, *shape)}) for shape in shapes)
    with pytest.raises(ValueError, match=says):
        terms(LD(), ours, theirs, Batch(torch.zeros(N, 1, 8, 8), pack(BOXES)))


# ---------------------------------------------------------------------------------------------------- masks


def masked_batch(side: int = 4) -> Batch:
    drawn = torch.randint(3, (N, side, side), generator=torch.Generator().manual_seed(5))
    valid = torch.rand(N, side, side, generator=torch.Generator().manual_seed(6)) < 0.7
    return Batch(torch.zeros(N, 1, side, side), drawn.masked_fill(~valid, 255), valid=valid)


def with_logits(feature: Tensor, seed: int = 9) -> Outputs:
    return Outputs(draw(3, 4, 4, seed=seed), {"0": feature})


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))


def test_ifvd() -> None:
    s, t, batch = draw(3, 4, 4, seed=1), draw(5, 4, 4, seed=2), masked_batch()
    value = terms(IFVD(), with_logits(s), with_logits(t), batch)["ifvd"]
    images = []
    for n in range(N):
        squares = []
        for y, x in torch.nonzero(batch.valid[n]).tolist():
            same = array(batch.targets[n] == batch.targets[n, y, x])
            near = [cosine(array(f[n, :, y, x]), array(f[n])[:, same].mean(1)) for f in (s, t)]
            squares.append((near[0] - near[1]) ** 2)
        images.append(np.mean(squares))
    close(value, float(np.mean(images)))


def test_masks_of_the_pixels_size_are_brought_to_the_maps() -> None:
    s, t, batch = draw(3, 4, 4, seed=1), draw(5, 4, 4, seed=2), masked_batch()
    large = Batch(
        torch.zeros(N, 1, 8, 8),
        batch.targets.repeat_interleave(2, 1).repeat_interleave(2, 2),
        valid=batch.valid.repeat_interleave(2, 1).repeat_interleave(2, 2),
    )
    for method in (IFVD(), CIRKD()):
        found = [terms(method, with_logits(s), with_logits(t), each) for each in (batch, large)]
        assert {k: v.item() for k, v in found[0].items()} == {k: v.item() for k, v in found[1].items()}


def test_skd() -> None:
    s, t = draw(3, 4, 4, seed=1), draw(5, 4, 4, seed=2)
    value = run(SKD(region=0.5), outputs(s), outputs(t))["skd"]
    total = 0.0
    for n in range(N):
        regions = [array(f[n]).reshape(f.shape[1], 2, 2, 2, 2).max((2, 4)).reshape(f.shape[1], 4) for f in (s, t)]
        for i, j in np.ndindex(4, 4):
            total += (cosine(*regions[0].T[[i, j]]) - cosine(*regions[1].T[[i, j]])) ** 2 / 16 / N
    close(value, total)


def test_cwd_logits_compares_where_each_class_is_among_the_pixels_that_count() -> None:
    batch = masked_batch()
    s, t = (draw(3, 4, 4, seed=seed) for seed in (1, 2))
    value = CWDLogits(temperature=2.0).compute_losses(Outputs(s), Outputs(t), batch)["cwd_logits"]
    total = 0.0
    for n, c in np.ndindex(N, 3):
        p, q = (softmax(array(x[n, c][batch.valid[n]]) / 2) for x in (t, s))
        total += 4 * float((p * np.log(p / q)).sum()) / N / 3
    close(value, total)


def test_cirkd() -> None:
    s, t, batch = draw(3, 4, 4, seed=1), draw(5, 4, 4, seed=2), masked_batch()
    method = CIRKD(temperature=0.5)
    found = terms(method, with_logits(s), with_logits(t), batch)
    ours, theirs, projected = (
        array(F.normalize(f, dim=1)).reshape(N, f.shape[1], 16) for f in (s, t, method.project(s))
    )
    pixel, region = 0.0, 0.0
    classes = batch.targets.reshape(N, 16).numpy()
    regions = []
    for k in range(3):
        mean = np.mean([theirs[n, :, i] for n, i in np.ndindex(N, 16) if classes[n, i] == k], 0)
        regions.append(mean / math.sqrt(mean @ mean))
    for n, i in np.ndindex(N, 16):
        for m in range(N):
            p, q = (softmax(f[n, :, i] @ f[m] / 0.5) for f in (theirs, ours))
            pixel += float((p * np.log(p / q)).sum()) / (N * 16 * N)
        p, q = (softmax(np.array(regions) @ f[n, :, i] / 0.5) for f in (theirs, projected))
        region += float((p * np.log(p / q)).sum()) / (N * 16)
    close(found["cirkd_pixel"], pixel)
    close(found["cirkd_region"], region)
    assert method.weight_of("cirkd_region") == pytest.approx(0.1)


@pytest.mark.parametrize("method", [IFVD(), CIRKD(), CWDLogits()])
def test_masks_without_a_pixel_that_counts_end_in_a_finite_loss(method: Method) -> None:
    s, t = draw(3, 4, 4, seed=1).requires_grad_(), draw(5, 4, 4, seed=2)
    nothing = Batch(torch.zeros(N, 1, 4, 4), torch.full((N, 4, 4), 255), valid=torch.zeros(N, 4, 4, dtype=torch.bool))
    torch.manual_seed(0)
    if method.taps.student:
        found = terms(method, with_logits(s), with_logits(t), nothing)
    else:
        found = method.compute_losses(Outputs(s), Outputs(draw(3, 4, 4, seed=8)), nothing)
    total = torch.stack(list(found.values())).sum()
    total.backward()
    assert total.isfinite()
    assert s.grad is not None
    assert s.grad.isfinite().all()


def test_impossible_settings_are_named() -> None:
    for method, settings in ((SKD, {"region": 0.0}), (CIRKD, {"size": 0}), (FGD, {"temperature": 0.0})):
        with pytest.raises(ValueError, match=next(iter(settings))):
            method(**settings)
