"""COCO's scores of boxes: pycocotools, torchmetrics and our own resampling say the same."""

import pytest
import torch
from torch import Tensor

from distill.boxes import Boxes, pack, pack_detections
from distill.tasks.coco import BoxAveragePrecision, CocoScores

CLASSES = 3


def drawn(images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Packed boxes, of which some images have none and some are crowds, and detections near them and elsewhere."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    objects, found = [], []
    for image in range(images):
        count = 0 if image % 5 == 0 else int(1 + 4 * draw(1))
        corner, side = 100 * draw(count, 2), 4 + 120 * draw(count, 1) * draw(count, 2)
        labels = (CLASSES * draw(count)).long()
        objects.append(
            [
                [*c.tolist(), *(c + s).tolist(), int(label), int(image % 7 == 1 and number == 0)]
                for number, (c, s, label) in enumerate(zip(corner, side, labels, strict=True))
            ]
        )
        corners = torch.cat([corner, corner + side], 1)
        near = corners + 6 * (draw(count, 4) - 0.5)
        other = 100 * draw(4, 2)
        boxes = torch.cat([near, torch.cat([other, other + 20 + 20 * draw(4, 2)], 1)])
        scores, order = draw(len(boxes)).round(decimals=1).sort(descending=True, stable=True)  # with ties
        named = torch.cat([labels, (CLASSES * draw(4)).long()])
        found.append({"boxes": boxes[order], "scores": scores, "labels": named[order]})
    return pack(objects, [1.0 + 0.5 * (image % 3) for image in range(images)]), pack_detections(found, 8)


def in_the_file(targets: Tensor, answers: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    truth = Boxes.of(targets)
    scale = truth.scale[:, None, None]
    given = torch.cat([truth.corners * scale, targets[..., 4:6]], -1)
    said = torch.cat([answers[..., :4] * scale, answers[..., 4:]], -1)
    return [g[g[:, 4] >= 0] for g in given], [s[s[:, 5] >= 0] for s in said]


@pytest.mark.parametrize("seed", range(3))
def test_torchmetrics_and_resampling_agree_with_pycocotools(seed: int) -> None:
    targets, answers = drawn(23, seed)
    scores = CocoScores.of(*in_the_file(targets, answers), CLASSES)
    metric = BoxAveragePrecision()
    for rows in torch.arange(23).split(5):
        metric.update(answers[rows], targets[rows])
    assert scores.values["map"] == pytest.approx(float(metric.compute()), abs=1e-6)
    assert float(scores.metric(torch.ones(1, 23, dtype=torch.float64))) == pytest.approx(
        scores.values["map"], abs=1e-12
    )
    assert float(scores.classes.nanmean()) == pytest.approx(scores.values["map"], abs=1e-12)


def test_a_resample_scores_what_its_images_score() -> None:
    targets, answers = drawn(11, 3)
    scores = CocoScores.of(*in_the_file(targets, answers), CLASSES)
    rows = torch.tensor([1, 2, 2, 4, 6, 9, 9, 9])
    weights = torch.bincount(rows, minlength=11).double()[None]
    alone = CocoScores.of(*in_the_file(targets[rows], answers[rows]), CLASSES)
    # Equal scores come in the order of the images, which a repeated image changes: the only difference there may be.
    assert float(scores.metric(weights)) == pytest.approx(alone.values["map"], abs=2e-2)
    once = torch.tensor([1, 2, 4, 6])
    weights = torch.bincount(once, minlength=11).double()[None]
    alone = CocoScores.of(*in_the_file(targets[once], answers[once]), CLASSES)
    assert float(scores.metric(weights)) == pytest.approx(alone.values["map"], abs=1e-12)


def test_one_image_scores_as_it_would_alone() -> None:
    targets, answers = drawn(6, 4)
    scores = CocoScores.of(*in_the_file(targets, answers), CLASSES)
    for image in range(6):
        alone = CocoScores.of(*in_the_file(targets[image : image + 1], answers[image : image + 1]), CLASSES)
        own = torch.tensor([match.of_image(image) for match in scores.matches])
        assert torch.allclose(own.double(), alone.classes, equal_nan=True)


def test_sizes_are_those_of_the_file() -> None:
    """A box of 20 x 20 pixels as it is shown, in an image that was halved, is 40 x 40 in its file: of medium size."""
    targets = pack([[(0, 0, 20, 20, 0)]], [2.0])
    answers = torch.tensor([[[0.0, 0, 20, 19.9, 0.9, 0]]])
    values = CocoScores.of(*in_the_file(targets, answers), 1).values
    assert values == pytest.approx(
        {"map": 1.0, "map_50": 1.0, "map_75": 1.0, "map_medium": 1.0, "map_small": None, "map_large": None}
    )


def test_nothing_found_and_nothing_to_find() -> None:
    empty, box = torch.zeros(0, 6), torch.tensor([[0.0, 0, 10, 10, 1, 0]])
    assert CocoScores.of([box, empty], [empty, empty], 2).values["map"] == 0.0
    nothing = CocoScores.of([empty], [empty], 2)
    assert nothing.values["map"] is None
    assert nothing.metric(torch.ones(3, 1, dtype=torch.float64)).isnan().all()
