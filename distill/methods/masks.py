"""What methods for masks share: the classes of a map's positions, and the mean features of each class."""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from distill.types import Batch

NONE = -1  # in place of the class of a position that does not count


def classes_at(feature: Float[Tensor, "n c h w"], batch: Batch) -> Int[Tensor, "n h w"]:
    """The class of each position of a map, that of the nearest pixel of the batch's masks; -1 where none counts."""
    masks: Tensor = batch.targets
    if batch.valid is not None:
        masks = masks.masked_fill(~batch.valid, NONE)
    return F.interpolate(masks[:, None].float(), feature.shape[2:], mode="nearest")[:, 0].long()


def class_means(
    features: Float[Tensor, "n p c"], classes: Int[Tensor, "n p"], count: int
) -> tuple[Float[Tensor, "n k c"], Float[Tensor, "n k"]]:
    """Mean features of the positions of each of so many classes, zeros for one without any; how many there are."""
    place, counting = classes.clamp(min=0), (classes >= 0).to(features.dtype)
    sums = features.new_zeros(len(features), count, features.shape[2])
    sums = sums.scatter_add(1, place[..., None].expand_as(features), features * counting[..., None])
    counts = features.new_zeros(sums.shape[:2]).scatter_add(1, place, counting)
    return sums / counts.clamp_min(1)[..., None], counts
