"""Before training: taps the layers that a method needs, and sets the method up for their shapes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill.inputs import Inputs, first_tensor, inputs_to
from distill.methods import Composite, Example, Method, Taps
from distill.models import taps
from distill.models.modes import evaluating
from distill.models.network import Network
from distill.teachers import Teacher
from distill.types import Batch


def connect(
    method: Method,
    student: Network,
    teacher: Teacher,
    example: Inputs | None,
    labels: Tensor | Sequence[int] | None,
) -> None:
    """Tap both networks for the method, and let it create what depends on their shapes.

    Args:
        method: its taps become the names of layers.
        student, teacher: whose layers are tapped.
        example: a few inputs, shown once to both; None where the method needs none.
        labels: (S,) integers, the class of every training sample; None where the method needs none.

    Raises:
        ValueError: `example` or `labels` are needed, and are None.
    """
    if labels is not None:
        labels = torch.as_tensor(labels).flatten().long()
    for member in method.members if isinstance(method, Composite) else [method]:
        _check_given(member, example, labels)
        tap(member, student, teacher, example)
    if example is None or not method.needs_example:
        return
    count = len(first_tensor(example))
    labels = torch.zeros(count, dtype=torch.long) if labels is None else labels
    batch = Batch(example, labels[:count].clamp(min=0), torch.arange(count))
    with torch.no_grad(), evaluating(student):
        answers = student(batch.inputs)
    classifier = None if teacher.network is None else taps.classifier(teacher.network, example)
    method.setup(Example(answers, teacher(batch), labels, classifier))


def tap(method: Method, student: Network, teacher: Teacher, example: Inputs | None) -> None:
    """Tap both networks for one method, whose taps become the names of layers; arguments as for `connect`."""
    wanted = method.taps
    if not (wanted.student or wanted.teacher):
        return
    if example is not None and teacher.network is not None:
        wanted = Taps(*taps.resolve(wanted.student, wanted.teacher, student, teacher.network, example))
    method.taps = Taps(student.tap(wanted.student), teacher.tap(wanted.teacher))
    if example is not None:
        for network in (student, teacher.network):
            if network is not None and network.tapped:
                device = next(network.parameters(), first_tensor(example)).device
                taps.find_layouts(network, inputs_to(example, device))


def check_teacherless(method: Method) -> None:
    """Raise ValueError for a method that needs a teacher."""
    if method.needs_teacher:
        raise ValueError(
            f"method {type(method).__name__} imitates a teacher, and teacher=None was given; pass "
            "DistillModule(student, teacher, ...), or method=Supervised() to learn from labels alone"
        )


def _check_given(method: Method, example: Inputs | None, labels: Tensor | None) -> None:
    name = type(method).__name__
    words = sorted({word for word in (*method.taps.student, *method.taps.teacher) if taps.is_word(word)})
    if example is None and (method.needs_example or words):
        finds = f"to find the layers {', '.join(map(repr, words))}" if words else "to see the shapes that it fits"
        raise ValueError(
            f"example=None: method {name} needs a few images {finds}; pass DistillModule(..., "
            "example=next(iter(loader))[0])"
        )
    if labels is None and method.needs_labels:
        raise ValueError(
            f"labels=None: method {name} remembers every training sample and needs its class; pass "
            "DistillModule(..., labels=torch.as_tensor(dataset.targets)), (S,) integers in the order of the samples' "
            "indices, and a loader of (images, targets, indices)"
        )
