"""The embedded default: 1,797 handwritten digits of 8 x 8 pixels, inside scikit-learn."""

import torch

from distill.data.source import ImageSource
from distill.data.split import Split
from distill.seeding import derive_seed

VALIDATION = 500


def digits() -> ImageSource:
    """1,297 training and 500 validation images (1, 8, 8) in ten classes; which is which never changes.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (torch.from_numpy(bunch.images) * (255 / 16)).round().to(torch.uint8)[:, None]
    targets = torch.from_numpy(bunch.target).long()
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(derive_seed(0, "digits")))
    train, val = order[VALIDATION:], order[:VALIDATION]
    return ImageSource(
        "digits",
        Split(images[train], targets[train]),
        Split(images[val], targets[val]),
        [str(name) for name in bunch.target_names],
    )
