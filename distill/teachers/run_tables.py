"""A cache's tables as one run goes through them."""

from collections.abc import Callable

import numpy as np

from distill.teachers.array_file import Numbers
from distill.teachers.inputs import TeacherInputs
from distill.teachers.store import AnswerTable, Store
from distill.types import SplitName

Place = tuple[SplitName, int]
"""A split, and the first epoch that shows its images so."""


class RunTables:
    """The tables of the splits and epochs that a run asks about.

    Args:
        store: the cache, open.
        inputs: which samples and epochs the run has.
    """

    def __init__(self, store: Store, inputs: TeacherInputs) -> None:
        self.store, self.inputs = store, inputs
        self.mapped: dict[Place, AnswerTable] = {}
        self._current: Place | None = None

    def for_epoch(self, split: SplitName, epoch: int) -> AnswerTable:
        """A split's answers for what an epoch shows.

        When an epoch begins, its answers and those of the next are read from disk ahead: in the random order of
        training, the first steps would wait for all of them.
        """
        place = split, self.inputs.shown(epoch) if split == "train" else 0
        if place != self._current:
            self._current = place
            self.table(*place).read_ahead()
            if split == "train" and epoch + 1 < self.inputs.epochs:
                self.table(split, self.inputs.shown(epoch + 1)).read_ahead()
        return self.table(*place)

    def table(self, split: SplitName, epoch: int) -> AnswerTable:
        """The table at one place. The two last used of a split stay mapped: the current epoch's and the next's."""
        if (split, epoch) not in self.mapped:
            for place in [place for place in self.mapped if place[0] == split][:-1]:
                del self.mapped[place]
            self.mapped[split, epoch] = self.store.table(split, epoch)
        return self.mapped[split, epoch]

    def places(self) -> list[Place]:
        """All splits and epochs that the run may ask about."""
        return [*(("train", epoch) for epoch in range(self.inputs.distinct_epochs)), ("val", 0)]

    def missing(self) -> int:
        """How many answers the run may ask for that are not there."""
        wanted = {split: self.inputs.wanted(split) for split in ("train", "val")}
        return sum(int((~self.store.table(*place).written()[wanted[place[0]]]).sum()) for place in self.places())

    def drawn(self, most: int) -> tuple[Place, Numbers]:
        """A place with answers, drawn by chance, and up to `most` of its rows that are there, in order; or none."""
        chances = np.random.default_rng()
        places = [place for place in self.places() if self.store.table(*place).written().any()]
        if not places:
            return ("val", 0), np.arange(0)
        place = places[chances.integers(len(places))]
        there = self.table(*place).written().nonzero()[0]
        return place, np.sort(chances.permutation(there)[:most])

    def in_words(self, seconds_per_sample: Callable[[], float]) -> str:
        """How many answers are there, and how long the others take: '81% are there, the others take ...'."""
        if not (missing := self.missing()):
            return "all there"
        total = len(self.inputs.samples) * self.inputs.distinct_epochs + self.inputs.sizes["val"]
        seconds = seconds_per_sample() * missing
        return f"{1 - missing / total:.0%} are there, the others take the teacher about {seconds:.0f} s"
