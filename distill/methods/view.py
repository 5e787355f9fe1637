"""How methods see a task: what they may count on, and its logits and labels as distributions over classes."""

from typing import Literal, Protocol

from torch import Tensor

Trait = Literal["exclusive classes", "a class for each sample", "a class for each position"]
"""What a task may have, and a method may need.

exclusive classes: exactly one of them is true, of a sample or of each of its positions.
a class for each sample: the sample's own, not one for each of its positions.
a class for each position: of a map as large as the image.
"""


class View(Protocol):
    """How a task's logits and labels become distributions and their classes. A `distill.tasks.Task` is one."""

    def as_distributions(self, logits: Tensor) -> Tensor:
        """A network's logits as (rows, classes, *positions), whose softmax over dimension 1 are probabilities."""
        ...

    def as_classes(self, targets: Tensor) -> Tensor:
        """Labels as (rows, *positions) int64 classes of these distributions, or probabilities of their shape."""
        ...


class AsTheyAre:
    """The view of logits that are distributions already."""

    def as_distributions(self, logits: Tensor) -> Tensor:
        """The same."""
        return logits

    def as_classes(self, targets: Tensor) -> Tensor:
        """The same."""
        return targets
