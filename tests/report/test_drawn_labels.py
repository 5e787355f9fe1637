"""Pictures of masks and boxes: the truth and what each network says, side by side."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.boxes import Boxes, pack_detections
from distill.data.digit_scenes import digit_scenes
from distill.report.pictures import disagreements, labelled
from distill.tasks.colours import palette
from distill.tasks.disagreements import Disagreements

COUNT = 3


def said_of(targets: Tensor, target: str) -> dict[str, Tensor]:
    """Answers of a teacher that is right, a student that finds nothing, and a baseline that does neither."""
    if target == "masks":
        right = F.one_hot(targets.long(), 11).movedim(-1, 1).float()
        nothing = F.one_hot(torch.zeros_like(targets).long(), 11).movedim(-1, 1).float()
        return {"teacher": 9 * right, "baseline": 9 * right.roll(9, 3), "student": 9 * nothing}
    boxes = Boxes.of(targets)
    found = [
        {"boxes": corners[there], "scores": torch.ones(int(there.sum())), "labels": labels[there]}
        for corners, labels, there in zip(boxes.corners, boxes.labels, boxes.there, strict=True)
    ]
    right, nothing = pack_detections(found, 4), pack_detections(found, 4)
    nothing[..., 4:] = torch.tensor([0.0, -1.0])
    return {"teacher": right, "baseline": right + torch.tensor([3.0, 0, 3, 0, 0, 0]), "student": nothing}


@pytest.mark.parametrize("target", ["masks", "boxes"])
def test_a_line_for_each_sample_shows_the_truth_beside_what_networks_say(target: Any) -> None:
    source = digit_scenes(target, COUNT, COUNT)
    targets = source.task.as_shown(source.val.targets, None)
    found = Disagreements()
    found.add(source.task, torch.arange(COUNT), targets, said_of(targets, target), source.class_names)
    results: Any = SimpleNamespace(
        task=source.task, validation=SimpleNamespace(class_names=source.class_names, count=COUNT), noun="images",
        shown=source.shown,
    )  # fmt: skip
    figure = disagreements(results, found)
    assert figure.get_suptitle() == f"{COUNT} of {COUNT} images on which teacher and student differ"
    heads = [axes.get_title(loc="left").split(" ")[0] for axes in figure.axes]
    assert heads == ["", "truth", "teacher", "baseline", "student"] * COUNT
    for line in range(COUNT):
        _, truth, teacher, baseline, student = (
            axes.images[0].get_array().tolist() for axes in figure.axes[5 * line : 5 * line + 5]
        )
        assert truth == teacher
        assert truth != baseline
        assert truth != student


def test_boxes_are_drawn_at_their_edges_in_the_colour_of_their_class() -> None:
    source = digit_scenes("boxes", 1, 1)
    image, target = source.shown(0), source.val.targets[0]
    assert isinstance(image, Tensor)
    drawn = source.task.drawn(image, target, source.class_names)
    assert drawn.shape == (3, 256, 256), "four times as large, so that names can be read"
    boxes = Boxes.of(target[None])
    for corners, label in zip(boxes.corners[boxes.there], boxes.labels[boxes.there], strict=True):
        left, top, right, _ = (4 * corners).long().tolist()
        assert (drawn[:, top, (left + right) // 2] == palette()[label + 1]).all()


def test_a_batch_has_its_labels_below_it() -> None:
    source = digit_scenes("masks", 2, 1)
    figure = labelled(source.task, source.train.show(torch.arange(2)), source.train.targets, source.class_names)
    pictures = [axes.images[0].get_array() for axes in figure.axes]
    assert len(pictures) == 4
    for mask, picture in zip(source.train.targets, pictures[2:], strict=True):
        assert (torch.as_tensor(picture).int() == palette()[mask.long()].int()).all()
