"""Scenes of digits: what is said of them is what can be seen, and nothing else decides it but the arguments."""

import torch

from distill.data.scenes import CELL, SIDE, compose

GLYPHS = torch.rand(30, 8, 8, generator=torch.Generator().manual_seed(1)).index_fill(2, torch.tensor([0, 7]), 0.0)
LABELS = torch.arange(30) % 10


def test_boxes_are_the_edges_of_masks_and_digits_never_overlap() -> None:
    scenes = compose(GLYPHS, LABELS, 20, seed=3)
    assert scenes.images.shape == (20, 1, SIDE, SIDE)
    for digits, mask, boxes in zip(scenes.digits, scenes.masks, scenes.boxes, strict=True):
        for quarter, (digit, box) in enumerate(zip(digits.tolist(), boxes.tolist(), strict=True)):
            top, left = (CELL * cell for cell in divmod(quarter, 2))
            seen = mask[top : top + CELL, left : left + CELL]
            if digit < 0:
                assert not seen.any()
                assert box == [0, 0, 0, 0]
                continue
            assert set(seen.unique().tolist()) == {0, digit + 1}
            rows, columns = seen.any(1).nonzero().flatten() + top, seen.any(0).nonzero().flatten() + left
            edges = [int(x) for x in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
            assert box == edges


def test_every_scene_has_a_digit_and_the_seed_decides_all() -> None:
    scenes = compose(GLYPHS, LABELS, 40, seed=0)
    assert (scenes.digits >= 0).any(1).all()
    assert set((scenes.digits >= 0).sum(1).tolist()) == {1, 2, 3, 4}
    assert torch.equal(scenes.images, compose(GLYPHS, LABELS, 40, seed=0).images)
    assert not torch.equal(scenes.images, compose(GLYPHS, LABELS, 40, seed=1).images)
