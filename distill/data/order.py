"""The order of samples in an epoch, and each process's share of them."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from distill.seeding import derive_seed

Sampling = Literal["shuffled", "balanced"]

BUCKET = 32
"""Steps whose samples are sorted by length: more would waste less padding, and mix lengths less."""


class Draw(NamedTuple):
    """The samples of one step: their indices in the split, and the epoch that they are shown in."""

    epoch: int
    indices: Tensor


class TrainingOrder:
    """Shuffled batches, each split evenly over the processes.

    One order serves any number of processes: `processes` of them with batches of B take together, step for step, the
    samples that a single one takes with a batch of `processes * B`. The remainder that fills no batch is left out of
    that epoch; as each epoch is shuffled anew, no sample is left out for good.

    Args:
        samples: (S,) int64 indices to draw from.
        batch_size: samples per step of each process; a set smaller than one step of all makes one smaller step.
        seed: of the shuffling.
        process, processes: which of how many this is.
        replay: shuffled anew each epoch, samples look as they did so many epochs ago; None: always anew.
        classes: (S,) int64, the class of each sample, to show every class equally often: an epoch has as many samples
            as there are, of which rare classes' come several times and others' not at all, by turns. None: each once.
        lengths: (S,) int64, the length of each sample, to show like lengths together: within every `BUCKET` steps,
            samples are sorted by length, and the steps then shuffled. None: as they come.

    Raises:
        ValueError: fewer samples than processes.
    """

    def __init__(
        self,
        samples: Tensor,
        batch_size: int,
        seed: int,
        process: int = 0,
        processes: int = 1,
        replay: int | None = None,
        classes: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> None:
        if len(samples) < processes:
            raise ValueError(f"processes={processes}: must be at most the number of samples, {len(samples)}")
        self.samples = samples
        self.batch_size = min(batch_size, len(samples) // processes)
        self.seed = seed
        self.process = process
        self.processes = processes
        self.replay = replay
        self.classes = classes
        self.lengths = lengths
        self.epoch = 0
        self.first = 0  # the step that the next iteration begins with; those after it begin with the first
        self.sampler = self  # where Lightning looks for `set_epoch`

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.samples) // (self.batch_size * self.processes)

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        places = None if self.classes is None else balanced(self.classes, generator)
        order = torch.randperm(len(self.samples), generator=generator)
        order = order if places is None else places[order]
        if self.lengths is not None:
            order = bucketed(order, self.lengths, self.batch_size * self.processes, generator)
        shuffled = self.samples[order]
        shown = self.epoch % self.replay if self.replay else self.epoch
        first, self.first = self.first, 0
        for step in range(first, len(self)):
            start = (step * self.processes + self.process) * self.batch_size
            yield Draw(shown, shuffled[start : start + self.batch_size])


class EvaluationOrder:
    """Every sample once, in order; process p of P takes every P-th. No sample is shown twice.

    The length is the same in all processes, that of the largest share, so that Lightning lets each of them to the end:
    one with a smaller share gives fewer batches than that, perhaps none.

    Args:
        count: how many samples.
        batch_size: samples per step.
        process, processes: which of how many this is.
    """

    def __init__(self, count: int, batch_size: int, process: int = 0, processes: int = 1) -> None:
        self.indices = torch.arange(count)[process::processes]
        self.largest_share = -(-count // processes)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-self.largest_share // self.batch_size)

    def __iter__(self) -> Iterator[Draw]:
        for start in range(0, len(self.indices), self.batch_size):
            yield Draw(0, self.indices[start : start + self.batch_size])


class ListedOrder:
    """Given samples, once, as they look in an epoch.

    Args:
        indices: (n,) int64 samples.
        batch_size: samples per step.
        epoch: in which they are shown.
    """

    def __init__(self, indices: Tensor, batch_size: int, epoch: int) -> None:
        self.indices = indices
        self.batch_size = batch_size
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[Draw]:
        for chunk in self.indices.split(self.batch_size):
            if len(chunk):
                yield Draw(self.epoch, chunk)


def bucketed(order: Tensor, lengths: Tensor, step: int, generator: torch.Generator) -> Tensor:
    """The same samples, those of like length in one step.

    Args:
        order: (S,) int64 places in `lengths`, shuffled.
        lengths: (S,) int64.
        step: samples of one step; what fills none stays at the end.
        generator: draws the order of the steps.

    Returns:
        (S,) int64.
    """
    whole = len(order) // step * step
    sorted_steps = []
    for bucket in order[:whole].split(BUCKET * step):
        sorted_steps += bucket[lengths[bucket].argsort(stable=True)].split(step)
    turns = torch.randperm(len(sorted_steps), generator=generator).tolist()
    return torch.cat([*(sorted_steps[turn] for turn in turns), order[whole:]])


def balanced(classes: Tensor, generator: torch.Generator) -> Tensor:
    """As many samples as there are, equally many of each class (one more of some, where that doesn't come out even).

    Within a class none comes a second time before all have come once.

    Args:
        classes: (S,) int64 labels.
        generator: draws which.

    Returns:
        (S,) int64 places in `classes`, by class.
    """
    labels = classes.unique()
    shares = torch.full((len(labels),), len(classes) // len(labels))
    shares[torch.randperm(len(labels), generator=generator)[: len(classes) % len(labels)]] += 1
    drawn = []
    for label, share in zip(labels, shares.tolist(), strict=True):
        members = (classes == label).nonzero().flatten()
        rounds = [torch.randperm(len(members), generator=generator) for _ in range(-(-share // len(members)))]
        drawn += [members[torch.cat(rounds)[:share]]] if rounds else []
    return torch.cat(drawn)


def share_of_each_class(targets: Tensor, fraction: float, seed: int) -> Tensor:
    """Samples drawn from every class alike.

    Args:
        targets: (N,) int64 labels.
        fraction: above 0, at most 1.
        seed: which samples.

    Returns:
        (S,) int64 indices, increasing; at least one of each class that occurs.
    """
    generator = torch.Generator().manual_seed(seed)
    kept = []
    for label in targets.unique():
        members = (targets == label).nonzero().flatten()
        count = max(1, round(fraction * len(members)))
        kept.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(kept).sort().values
