"""Object detection as a task: boxes that move with their image, and what a network's boxes are worth."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.boxes import Boxes, count_pairs, pack, pack_detections
from distill.data.augment import Augment
from distill.tasks import Detection

NAMES = ["cat", "dog", "cow"]
MOVES = [{"flip": True}, {"crop_padding": 6}, {"resized_crop": 0.4}, {"zoom": [0.5, 1.5]}]


def painted(targets: Tensor, side: int) -> Tensor:
    """(N, M, side, side) uint8: each box as an image of its own, its inside white."""
    images = torch.zeros(*targets.shape[:2], side, side, dtype=torch.uint8)
    for n, m in (targets[..., 4] >= 0).nonzero().tolist():
        left, top, right, bottom = targets[n, m, :4].long().tolist()
        images[n, m, top:bottom, left:right] = 255
    return images


@settings(deadline=None, max_examples=20)
@given(
    st.integers(0, 1000),
    st.sampled_from([{"flip": True}, {"crop_padding": 6}, {"resized_crop": 0.4}, {"zoom": [0.5, 1.5]}]),
)
def test_boxes_go_where_their_pixels_go(seed: int, settings: dict) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner, size = (
        torch.randint(0, 20, (4, 2, 2), generator=generator),
        torch.randint(6, 20, (4, 2, 2), generator=generator),
    )
    rows = torch.cat([corner, corner + size, torch.randint(3, (4, 2, 1), generator=generator)], -1)
    targets = pack(rows.tolist())
    augment, indices = Augment(**settings), torch.arange(4)
    moved = Detection(3).as_shown(targets, augment.placement(40, 40, seed, 2, indices))
    for m, images in enumerate(painted(targets, 40).unbind(1)):
        shown = augment(images[:, None], seed, 2, indices)[:, 0]
        for n, box in enumerate(moved[:, m]):
            inside = shown[n] > 0.5
            if box[4] < 0:  # too little of it was left
                assert inside.sum() <= 0.35 * (targets[n, m, 2:4] - targets[n, m, :2]).prod() * 2.5
                continue
            ys, xs = inside.nonzero().unbind(1)
            seen = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            assert (seen - box[:4]).abs().max() <= 1.0
            assert box[4] == targets[n, m, 4]


def test_a_box_of_which_little_is_left_goes() -> None:
    targets = pack([[(0, 0, 10, 10, 1), (20, 20, 30, 30, 2)]])
    augment = Augment(crop_padding=10)
    for epoch in range(30):
        moved = Boxes.of(Detection(3).as_shown(targets, augment.placement(30, 30, 0, epoch, torch.tensor([0]))))
        areas = (moved.corners[..., 2:] - moved.corners[..., :2]).prod(-1)
        assert ((areas > 25) == (moved.labels >= 0)).all()
        assert (moved.corners >= 0).all()
        assert (moved.corners <= 30).all()


def test_what_is_said_of_boxes() -> None:
    task = Detection(3)
    targets = pack([[(0, 0, 10, 10, 1), (20, 20, 30, 30, 2)], [], [(0, 0, 5, 5, 1, 1)]])
    assert task.counts(targets, 3).tolist() == [0, 1, 1]  # a crowd is not counted
    assert task.in_words(targets, 3) == "with 2 boxes of 3 classes, 0.7 on each, 2 images without"
    assert task.truth(targets[0], NAMES) == "1 dog, 1 cow"
    assert task.truth(targets[1], NAMES) == "nothing"
    renumbered = task.renumbered(targets, torch.tensor([2, 0, 1]), 3)
    assert Boxes.of(renumbered).labels[0].tolist() == [0, 1]
    assert (renumbered[..., 4] == -1).sum() == (targets[..., 4] == -1).sum()


def test_perfect_boxes_score_one_and_agree() -> None:
    task = Detection(3)
    # The last is 200 pixels wide in its file.
    targets = pack([[(0, 0, 10, 10, 1), (20, 20, 30, 30, 2)], [], [(0, 0, 50, 50, 0)]], [1.0, 1.0, 4.0])
    found = pack_detections(
        [
            {"boxes": rows[:, :4], "scores": torch.full((len(rows),), 0.9), "labels": rows[:, 4].long()}
            for rows in (image[image[:, 4] >= 0] for image in targets)
        ],
        5,
    )
    evaluation = task.evaluation(3)
    evaluation.update(found, targets, found)
    scored = evaluation.scored()
    assert scored.values["agreement"] == 1.0
    assert [scored.values[name] for name in ("map", "map_small", "map_large")] == pytest.approx([1.0, 1.0, 1.0])
    assert scored.values["map_medium"] is None
    assert evaluation.samples.tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert evaluation.metric(torch.ones(2, 3, dtype=torch.float64)).tolist() == pytest.approx([1.0, 1.0])
    assert evaluation.standing(0.0).convincing
    assert task.answer(found[0], targets[0], NAMES) == ("1 dog, 1 cow", True)
    assert task.disagreement(found, found).tolist() == [0.0, 0.0, 0.0]
    rows = task.compared(found, found, targets, NAMES)
    assert rows[2][:3] == ["1 cat", "1 cat", "1 cat"]
    assert '"box": [0.0, 0.0, 200.0, 200.0]' in rows[2][4]


def test_a_claim_where_nothing_is_costs() -> None:
    evaluation = Detection(3).evaluation(3)
    found = pack_detections(
        [{"boxes": torch.tensor([[0.0, 0, 9, 9]]), "scores": torch.tensor([0.75]), "labels": torch.tensor([0])}], 2
    )
    evaluation.update(found, pack([[]]), None)
    assert evaluation.samples.tolist() == [0.25]


def test_each_box_is_found_once() -> None:
    one = torch.tensor([[0.0, 0, 10, 10, 0.9, 1], [1, 0, 10, 10, 0.8, 1]])
    assert count_pairs(one, one[:1]) == 1
    assert count_pairs(one, one) == 2
    other = one.clone()
    other[:, 5] = 0
    assert count_pairs(one, other) == 0


def test_logits_are_binary_for_sigmoid_heads_and_a_softmax_with_a_background() -> None:
    task = Detection(3)
    logits = torch.randn(2, 3, 7)
    pairs = task.as_distributions(logits)
    assert pairs.shape == (2, 2, 21)
    assert torch.allclose(pairs.softmax(1)[:, 1], logits.flatten(1).sigmoid())
    assert task.as_distributions(torch.randn(2, 4, 7)).shape == (2, 4, 7)
