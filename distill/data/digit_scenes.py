"""Scenes of scikit-learn's digits: pictures with a mask each, without a file."""

from typing import Literal, get_args

from distill.data.digits import digits
from distill.data.scenes import Scenes, compose
from distill.data.source import ImageSource
from distill.data.split import Split
from distill.seeding import derive_seed
from distill.tasks import SemanticSegmentation

Target = Literal["masks"]


def digit_scenes(target: Target = "masks", train: int = 400, val: int = 200) -> ImageSource:
    """Images (1, 64, 64) of one to four digits on a noisy ground; the same for the same numbers.

    Digits of validation scenes are in no training scene.

    Args:
        target: masks: the class of each pixel, background or the digit that it is of.
        train, val: how many scenes.

    Raises:
        ValueError: a setting out of its range.
    """
    if target not in get_args(Target):
        raise ValueError(f"target={target}: must be one of {', '.join(get_args(Target))}")
    if min(train, val) < 1:
        raise ValueError(f"train={train} and val={val}: must be 1 or more scenes each")
    parts = {name: _scenes(name, count) for name, count in (("train", train), ("val", val))}
    splits = {name: Split(scenes.images, scenes.masks) for name, scenes in parts.items()}
    names = ["background", *map(str, range(10))]
    return ImageSource("digit_scenes", splits["train"], splits["val"], names, task=SemanticSegmentation())


def _scenes(part: str, count: int) -> Scenes:
    source = digits()
    split = source.train if part == "train" else source.val
    assert isinstance(split, Split)
    return compose(split.images[:, 0].float() / 255, split.targets, count, derive_seed(0, "digit_scenes", part))
