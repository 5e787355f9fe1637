"""Scenes of scikit-learn's digits: pictures with a mask, or with boxes, without a file."""

from typing import Literal, get_args

import torch
from torch import Tensor

from distill.boxes import Boxes
from distill.data.digits import digits
from distill.data.scenes import Scenes, compose
from distill.data.source import ImageSource
from distill.data.split import Split
from distill.seeding import derive_seed
from distill.tasks import Detection, SemanticSegmentation, Task

Target = Literal["masks", "boxes"]
DIGITS = [*map(str, range(10))]


def digit_scenes(target: Target = "masks", train: int = 400, val: int = 200) -> ImageSource:
    """Images (1, 64, 64) of one to four digits on a noisy ground; the same for the same numbers.

    Digits of validation scenes are in no training scene.

    Args:
        target: masks: the class of each pixel, background or the digit that it is of; boxes: where each digit is.
        train, val: how many scenes.

    Raises:
        ValueError: a setting out of its range.
    """
    if target not in get_args(Target):
        raise ValueError(f"target={target}: must be one of {', '.join(get_args(Target))}")
    if min(train, val) < 1:
        raise ValueError(f"train={train} and val={val}: must be 1 or more scenes each")
    parts = {name: _scenes(name, count) for name, count in (("train", train), ("val", val))}
    labels = {name: scenes.masks if target == "masks" else _boxes(scenes) for name, scenes in parts.items()}
    splits = {name: Split(scenes.images, labels[name]) for name, scenes in parts.items()}
    task: Task = SemanticSegmentation() if target == "masks" else Detection(len(DIGITS))
    names = ["background", *DIGITS] if target == "masks" else DIGITS
    return ImageSource("digit_scenes", splits["train"], splits["val"], names, task=task)


def _boxes(scenes: Scenes) -> Tensor:
    """Packed, see `distill.boxes`."""
    nothing = torch.zeros_like(scenes.digits, dtype=torch.bool)
    return Boxes(scenes.boxes, scenes.digits, nothing, torch.ones(len(scenes.digits))).packed


def _scenes(part: str, count: int) -> Scenes:
    source = digits()
    split = source.train if part == "train" else source.val
    assert isinstance(split, Split)
    return compose(split.images[:, 0].float() / 255, split.targets, count, derive_seed(0, "digit_scenes", part))
