"""Two networks' answers of each kind that the methods of configs/method/ need."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from distill.boxes import pack
from distill.methods import Example, Method
from distill.types import Batch, Outputs

Kind = Literal["classes", "masks", "boxes"]
N, CLASSES, TRAINING_SAMPLES = 6, 5, 40
PLACES, BINS = 20, 6  # of detectors
# Channels and sides of three stages: a student and a teacher of one family, and of two.
NETWORKS = {
    "resnets": (((4, 8), (8, 4), (16, 2)), ((8, 8), (16, 4), (32, 2))),
    "strangers": (((6, 8), (10, 8), (12, 4)), ((16, 8), (24, 4), (40, 4))),
}
STAGES = ("stage1", "stage2", "stage3")
WORDS = {"stages": STAGES, "last_stage": STAGES[-1:], "embedding": ("embedding",), "levels.*": STAGES}


def kind_of(method: Method) -> Kind:
    """By what it needs."""
    if "boxes" in method.needs:
        return "boxes"
    return "masks" if "a class for each position" in method.needs else "classes"


class Learned:
    """Reads logits as a detector does, for the loss of its labels alone."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def label_loss(self, targets: Tensor) -> Tensor:
        """Something of them."""
        return self.logits.float().sigmoid().mean() + 0 * targets.sum()


def answers(
    stages: Sequence[tuple[int, int]], classifier: nn.Linear, dtype: torch.dtype, seed: int, kind: Kind = "classes"
) -> Outputs:
    """A network's outputs as leaves: maps as out of a ReLU, their average as embedding, and its logits."""
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(N, channels, side, side, generator=generator).relu() for channels, side in stages]
    embedding = maps[-1].mean((2, 3))
    values = dict(zip((*STAGES, "embedding"), (*maps, embedding), strict=True))
    logits = classifier(embedding).detach()
    if kind != "classes":
        shape = (N, CLASSES, 8, 8) if kind == "masks" else (N, CLASSES, PLACES)
        logits = torch.randn(shape, generator=generator)
        values["boxes"] = torch.randn(N, 4, BINS, PLACES, generator=generator)
    logits = logits.to(dtype).requires_grad_()
    features = {name: value.to(dtype).requires_grad_() for name, value in values.items()}
    return Outputs(logits, features, reading=Learned(logits) if kind == "boxes" else None)  # type: ignore[arg-type]


def batch_of(kind: Kind, labels: Tensor, indices: Tensor) -> Batch:
    """Images with their labels, masks of which a part does not count, or boxes."""
    images, generator = torch.rand(N, 3, 8, 8), torch.Generator().manual_seed(7)
    if kind == "classes":
        return Batch(images, labels[indices], indices)
    if kind == "boxes":
        corners = torch.rand(N, 2, 2, 2, generator=generator).mul(8).sort(2).values.flatten(2)
        return Batch(images, pack([[(*box, 1) for box in image] for image in corners.tolist()]), indices)
    masks = torch.randint(CLASSES, (N, 8, 8), generator=generator)
    valid = torch.rand(N, 8, 8, generator=generator) < 0.8
    return Batch(images, masks.masked_fill(~valid, 255), indices, valid=valid)


def labelled_otherwise(batch: Batch, kind: Kind) -> Batch:
    """The same images with other labels."""
    if kind == "boxes":
        other = batch.targets.clone()
        other[..., :4] = other[..., :4] / 2
        return dataclasses.replace(batch, targets=other)
    if kind == "masks":
        merged = batch.targets.where(batch.targets != 1, 0)  # other numbers for the same regions would be all the same
        return dataclasses.replace(batch, targets=merged)
    return dataclasses.replace(batch, targets=(batch.targets + 1) % CLASSES)


def case(networks: str, dtype: torch.dtype, kind: Kind = "classes") -> tuple[Outputs, Outputs, Batch, Example]:
    """A student's and a teacher's answers, the batch, and the example that methods prepare with."""
    torch.manual_seed(0)
    mine, theirs = NETWORKS[networks]
    classifiers = [nn.Linear(stages[-1][0], CLASSES).requires_grad_(False) for stages in (mine, theirs)]
    labels = torch.arange(TRAINING_SAMPLES) % CLASSES
    batch = batch_of(kind, labels, torch.tensor([3, 17, 4, 29, 38, 11]))
    example = Example(
        student=answers(mine, classifiers[0], torch.float32, 1, kind),
        teacher=answers(theirs, classifiers[1], torch.float32, 2, kind),
        labels=labels,
        classifier=classifiers[1],
    )
    student, teacher = (
        answers(s, c, dtype, seed, kind) for s, c, seed in zip((mine, theirs), classifiers, (3, 4), strict=True)
    )
    return student, teacher, batch, example
