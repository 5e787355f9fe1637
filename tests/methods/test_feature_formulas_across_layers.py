"""Feature methods across layers against their papers' formulas, written out sample by sample in float64."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from feature_arrays import (
    Array,
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

from distill.losses.singular import singular_vectors
from distill.methods import KDSVD, Example, ReviewKD, SemCKD, Taps


@pytest.mark.parametrize(("rank", "side"), [(1, 3), (2, 3), (2, 2)])
def test_kdsvd(rank: int, side: int) -> None:
    channels = [5, 6]  # of a matrix (H W, C) with more and, at side 2, fewer rows than columns
    students = [draw(c, side, side, seed=i) for i, c in enumerate(channels)]
    teachers = [draw(c, side, side, seed=9 + i) for i, c in enumerate(channels)]
    value = run(KDSVD(rank=rank), outputs(*students), outputs(*teachers))["kdsvd"]
    total = 0.0
    for n in range(N):
        ours, theirs = [], []
        for s, t in zip(students, teachers, strict=True):
            _, sigma, right = np.linalg.svd(array(t[n]).reshape(len(t[n]), -1).T)
            _, _, offered = np.linalg.svd(array(s[n]).reshape(len(s[n]), -1).T)
            offered = offered[: min(rank + 3, side * side, len(s[n]))]
            kept = sigma[:rank] / np.linalg.norm(sigma[:rank])
            chosen = []
            for k in range(rank):
                cosines = offered @ right[k]
                best = int(np.argmax(np.abs(cosines)))
                chosen.append(np.sign(cosines[best]) * offered[best])
            theirs.append(kept[:, None] * right[:rank])
            ours.append(kept[:, None] * np.stack(chosen))
        total += _relation_distance(ours, theirs, students, teachers, n, rank) / N
    close(value, total)


def _relation_distance(
    ours: list[Array], theirs: list[Array], students: list[Tensor], teachers: list[Tensor], n: int, rank: int
) -> float:
    """The formula with the signs of the teacher's vectors, which no formula fixes, taken from the method's own."""
    total = 0.0
    for i, t in enumerate(teachers):
        vectors = array(singular_vectors(t, rank)[0][n])
        for k in range(rank):
            sign = np.sign(vectors[:, k] @ theirs[i][k])
            theirs[i][k] *= sign
            ours[i][k] *= sign
    for k in range(rank):
        for a in range(students[1].shape[1]):
            for b in range(students[0].shape[1]):
                r_s = math.exp(-((ours[1][k][a] - ours[0][k][b]) ** 2) / 8)
                r_t = math.exp(-((theirs[1][k][a] - theirs[0][k][b]) ** 2) / 8)
                total += (r_s - r_t) ** 2
    return total


def test_reviewkd() -> None:
    sizes = [(3, 8), (4, 4), (6, 1)]
    students = [draw(c, h, h, seed=i) for i, (c, h) in enumerate(sizes)]
    teachers = [
        draw(5, 8, 8, seed=7),
        draw(7, 8, 8, seed=8),
        draw(9, 1, 1, seed=9),
    ]  # the middle one is larger: upsampled
    method = ReviewKD()
    value = run(method, outputs(*students), outputs(*teachers))["reviewkd"]
    total = 0.0
    for n in range(N):
        deeper = None
        for fusion, s, t in zip(method.fusions, students[::-1], teachers[::-1], strict=True):
            x = normalise(fusion.enter[1], convolve(fusion.enter[0], array(s[n])))
            assert x.shape[0] == 6
            if deeper is not None:
                deeper = _nearest(deeper, x.shape[1])
                share = 1 / (1 + np.exp(-convolve(fusion.attend[0], np.concatenate([x, deeper]))))
                x = x * share[0] + deeper * share[1]
            deeper = x = _nearest(x, t.shape[2])
            y = array(F.conv2d(torch.from_numpy(x)[None], fusion.leave[0].weight, padding=1)[0])
            y, z = normalise(fusion.leave[1], y), array(t[n])
            levels = [(1.0, y, z)]
            for level, side in enumerate(side for side in (4, 2, 1) if side < t.shape[2]):
                levels.append((0.5 ** (level + 1), block_means(y, side), block_means(z, side)))
            total += sum(w * float(np.square(a - b).mean()) for w, a, b in levels) / sum(w for w, _, _ in levels) / N
    close(value, total)


def _nearest(x: Array, side: int) -> Array:
    index = np.arange(side) * x.shape[1] // side
    result: Array = x[:, index][:, :, index]
    return result


def test_semckd() -> None:
    students, teachers = [draw(3, 4, 4, seed=1), draw(4, 2, 2, seed=2)], [draw(5, 4, 4, seed=3), draw(2, 4, 4, seed=4)]
    teachers.append(draw(6, 2, 2, seed=5))
    method = SemCKD(group_size=8, softness=0.5)
    value = run(method, outputs(*students), outputs(*teachers))["semckd"]

    def embed(network: nn.Module, maps: Tensor, n: int) -> Array:
        similarities = np.zeros(8)
        for other in range(N):
            similarities[other] = float((array(maps[n]) * array(maps[other])).sum())
        hidden = np.maximum(array(network[0].weight) @ similarities + array(network[0].bias), 0)
        out = array(network[2].weight) @ hidden + array(network[2].bias)
        return out / np.linalg.norm(out)

    total = 0.0
    for n in range(N):
        for i, s in enumerate(students):
            scores = [
                embed(method.queries[i], s, n) @ embed(method.keys[j], t, n) / 0.5 for j, t in enumerate(teachers)
            ]
            attention = np.exp(scores) / np.exp(scores).sum()
            for j, t in enumerate(teachers):
                side = min(s.shape[2], t.shape[2])
                y = bottleneck(method.projectors[i * len(teachers) + j], block_means(array(s[n]), side))
                total += attention[j] * float(np.square(y - block_means(array(t[n]), side)).mean())
    close(value, total / (N * len(students)))


def test_semckd_takes_similarities_within_groups() -> None:
    maps = [torch.randn(10, 3, 4, 4, dtype=torch.float64) for _ in range(2)]
    method = SemCKD(group_size=4)
    method.taps = Taps(("0",), ("0",))
    method.setup(Example(outputs(maps[0]), outputs(maps[1]), torch.zeros(10)))
    method.double()
    whole = method.attention([maps[0]], [maps[1]])
    parts = [method.attention([maps[0][a:b]], [maps[1][a:b]]) for a, b in ((0, 4), (4, 8), (8, 10))]
    torch.testing.assert_close(whole, torch.cat(parts))
