"""What the data are: how many images of which classes, and what looks wrong with them."""

from collections.abc import Iterator

import torch

from distill.data.source import ImageSource, Source

SAMPLE = 64  # training images that are looked at, evenly spaced
FEW = 12  # classes that are all listed
EXTREMES = 3  # classes that are listed at either end, where there are more


def data_lines(source: Source, students: int) -> Iterator[tuple[str, str]]:
    """What to say of the data, each with what it is about.

    Args:
        source: the data.
        students: how many of the training samples the student may see.
    """
    targets, task = source.train.targets, source.task
    counts = task.counts(targets, source.num_classes)
    share = "" if students == len(source.train) else f", {students:,} of them for the student"
    test = "" if source.test is None else f", {len(source.test):,} for a test at the end"
    yield (
        "data",
        f"{source.name}: {len(source.train):,} training {source.noun} of {source.size_in_words} "
        f"{task.in_words(targets, source.num_classes)}{share}; {len(source.val):,} for validation{test}",
    )
    for note in source.notes:
        yield "data", note
    names = [str(name) for name in source.class_names]
    if not task.listed:
        return
    if counts.min() != counts.max() or names != [*map(str, range(len(names)))]:  # else all is said
        yield task.noun, _classes(names, counts.tolist())


def data_doubts(source: Source) -> Iterator[str]:
    """What looks wrong."""
    for name, split in (("training", source.train), ("validation", source.val)):
        if not source.task.listed:
            break
        counts = source.task.counts(split.targets, source.num_classes)
        empty = [str(source.class_names[index]) for index in (counts == 0).nonzero().flatten().tolist()]
        if empty:
            names = ", ".join(empty[:3]) + (", ..." if empty[3:] else "")
            none = f"{source.task.noun} have no {name} {source.noun} ({names})"
            yield f"data: {len(empty)} of {source.num_classes} {none}: check how labels are made"
    if not isinstance(source, ImageSource):
        return
    sample = source.train.show(torch.linspace(0, len(source.train) - 1, SAMPLE).long().unique())
    if len(sample) > 1 and bool((sample == sample[0]).all()):
        yield (
            f"data: {len(sample)} training images that were looked at are all exactly alike, so nothing can be learned "
            "from them: check how they are read"
        )


def _classes(names: list[str], counts: list[int]) -> str:
    """Each class with its images where they are few, else the largest and the smallest."""
    named = [f"{name}: {count:,}" for name, count in zip(names, counts, strict=True)]
    if len(names) <= FEW:
        return ", ".join(named)
    if len(set(counts)) == 1:
        return f"{', '.join(names[:EXTREMES])}, ..., {names[-1]}"
    order = sorted(range(len(names)), key=lambda place: -counts[place])
    largest, smallest = (", ".join(named[place] for place in part) for part in (order[:EXTREMES], order[-EXTREMES:]))
    return f"{largest}, ..., {smallest}"
