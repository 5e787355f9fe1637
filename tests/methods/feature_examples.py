"""Two networks' features to try feature methods on."""

import torch
from torch import nn

import distill.methods as methods
from distill.methods import Example, Method, Taps
from distill.types import Batch, Outputs

NAMES = "AB AT CWD FSP FT FitNet KDSVD MGD NST OFD ReviewKD SRRL SemCKD SimKD VID".split()  # noqa: SIM905
WORDS = {"stages": ("layer1", "layer2", "layer3"), "last_stage": ("layer3",), "embedding": ("pool",)}
N, CLASSES = 6, 5


def resolve(method: Method) -> Method:
    """Do what connecting a method to its networks does: words become the names of layers."""
    both = method.taps.student, method.taps.teacher
    method.taps = Taps(*(tuple(name for word in words for name in WORDS.get(word, (word,))) for words in both))
    return method


def outputs(shapes: list[tuple[int, ...]], classifier: nn.Linear, seed: int) -> Outputs:
    """Features after a ReLU; the classifier sees the average of the last one, without its class token."""
    generator = torch.Generator().manual_seed(seed)
    features = [torch.randn(N, *shape, generator=generator).relu() for shape in shapes]
    last = features[-1]
    pooled = last.mean((2, 3)) if last.ndim == 4 else last[:, 1:].mean(1)
    names = (*WORDS["stages"], "pool")
    with torch.no_grad():
        logits = classifier(pooled)
    return Outputs(logits, dict(zip(names, [*features, pooled], strict=True)))


SHAPES = {
    "maps": ([(6, 8, 8), (8, 4, 4), (10, 4, 4)], [(6, 8, 8), (12, 8, 8), (16, 2, 2)]),
    "tokens": ([(17, 8), (17, 8), (17, 8)], [(10, 16), (10, 16), (10, 16)]),
    "mixed": ([(6, 8, 8), (8, 4, 4), (10, 2, 2)], [(17, 12), (17, 12), (17, 12)]),
}


def example(kind: str) -> Example:
    ours, theirs = SHAPES[kind]
    torch.manual_seed(0)
    width = [shape[-1] if len(shape) == 2 else shape[0] for shape in (ours[-1], theirs[-1])]
    heads = [nn.Linear(size, CLASSES) for size in width]
    labels = torch.arange(N) % CLASSES
    return Example(outputs(ours, heads[0], 1), outputs(theirs, heads[1], 2), labels, heads[1])


def prepared(name: str, given: Example, **settings: object) -> Method:
    torch.manual_seed(0)
    method = resolve(getattr(methods, name)(**settings))
    method.setup(given)
    return method


def leaves(given: Outputs) -> Outputs:
    """The same with every tensor asking for a gradient."""
    features = {name: feature.clone().requires_grad_() for name, feature in given.features.items()}
    return Outputs(given.logits.clone().requires_grad_(), features)


def batch_of(given: Example) -> Batch:
    return Batch(torch.zeros(N, 1, 2, 2), given.labels, torch.arange(N))
