"""The embedded data set."""

import torch

from distill.data.digits import digits


def test_the_split_never_changes() -> None:
    data = digits()
    assert (len(data.train), len(data.val)) == (1297, 500)
    assert data.train.shape == data.val.shape == (1, 8, 8)
    assert data.class_names == [str(number) for number in range(10)]
    assert data.train.targets[:10].tolist() == TRAIN
    assert data.val.targets[:10].tolist() == VAL
    assert torch.equal(data.train.images, digits().train.images)


def test_images_use_the_whole_range_and_are_in_one_split_only() -> None:
    data = digits()
    assert data.train.images.min() == 0
    assert data.train.images.max() == 255
    every = torch.cat([data.train.images, data.val.images]).flatten(1)
    assert len(every.unique(dim=0)) == 1797
    assert torch.bincount(torch.cat([data.train.targets, data.val.targets])).tolist() == COUNTS


TRAIN = [1, 0, 7, 3, 1, 7, 3, 3, 8, 7]
VAL = [9, 3, 0, 1, 6, 8, 3, 0, 7, 5]
COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
