"""Draws to decoded images: from memory, or from a stream, perhaps in worker processes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from distill.data.augment import Augment
from distill.data.order import Draw
from distill.data.stream import Stream, UnreadableError
from distill.devices import to_device
from distill.random import uniform
from distill.seeding import derive_seed

ATTEMPTS = 10


class Decoded(NamedTuple):
    """What a reader makes of a draw.

    Where samples are mixed, the first half are those of the draw, and the second half their partners.

    images: (n, C, H, W) uint8.
    indices: (n,) int64; not the draw's where an image could not be read and another took its place.
    failures: what could not be read.
    missing: samples of the draw for which nothing could be read.
    """

    epoch: int
    indices: Tensor
    images: Tensor
    failures: list[UnreadableError]
    missing: int = 0


@dataclass(frozen=True)
class MemoryReader:
    """Reads from a tensor, on the device where it lies.

    images: (N, C, H, W) uint8.
    augment, seed: what is done to the images later; here it matters whether they are mixed.
    pool: (S,) int64, the samples that may be seen.
    """

    images: Tensor
    augment: Augment
    seed: int
    pool: Tensor

    def __getitems__(self, draw: Draw) -> Decoded:
        """The images of a draw."""
        indices = _with_partners(draw, self.augment, self.seed, self.pool)
        images = self.images.index_select(0, to_device(indices, self.images.device))
        return Decoded(draw.epoch, indices, images, [])


@dataclass(frozen=True)
class StreamReader(Dataset[Decoded]):
    """Reads, decodes, and crops where `augment` says so; what runs in worker processes.

    stream: the images.
    augment, seed: as above.
    pool: (S,) int64, the samples that may be seen, and so may take the place of one that cannot be read; a reader
        whose pool is empty leaves a gap instead.
    crops: whether to cut a random window out of the image as it was read; labels that move know it at its final size.
    """

    stream: Stream
    augment: Augment
    seed: int
    pool: Tensor
    crops: bool = True

    def __getitems__(self, draw: Draw) -> Decoded:
        """The images of a draw."""
        images, indices, failures = [], [], []
        wanted = _with_partners(draw, self.augment, self.seed, self.pool).tolist()
        for sample in wanted:
            for index in self._candidates(sample, draw.epoch):
                try:
                    images.append(self._view(index, draw.epoch))
                except UnreadableError as error:
                    failures.append(error)
                else:
                    indices.append(index)
                    break
        stacked = torch.stack(images) if images else torch.empty(0, *self.stream.shape, dtype=torch.uint8)
        missing = len(wanted) - len(indices)
        return Decoded(draw.epoch, torch.tensor(indices, dtype=torch.long), stacked, failures, missing)

    def _view(self, index: int, epoch: int) -> Tensor:
        if self.augment.resized_crop and self.crops:
            return self.stream.random_view(index, self.augment.resized_crop, self.seed, epoch)
        return self.stream.view(index)

    def _candidates(self, index: int, epoch: int) -> Iterator[int]:
        """The sample itself, then those that take its place: a function of (seed, epoch, index) too."""
        yield index
        if self.stream.skip and len(self.pool):
            draws = uniform(derive_seed(self.seed, "replacement"), epoch, torch.tensor([index]), ATTEMPTS)[0]
            yield from self.pool[(draws.double() * len(self.pool)).long()].tolist()


def _with_partners(draw: Draw, augment: Augment, seed: int, pool: Tensor) -> Tensor:
    if not augment.mixes:
        return draw.indices
    return torch.cat([draw.indices, augment.partners(pool, seed, draw.epoch, draw.indices)])
