"""What a task is: every question of the framework whose answer depends on it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torchmetrics
from torch import Tensor, nn

from distill.errors import SettingError
from distill.methods import Composite, Method
from distill.methods.labels import ClassWeights
from distill.methods.view import Trait
from distill.placement import Placement
from distill.tasks.decisions import Decisions
from distill.tasks.evaluation import Evaluation
from distill.tasks.metric import Metric as Metric
from distill.types import Outputs


class Task(ABC):
    """One kind of labels and all that follows from it; a task is one file beside this one, with its data and networks.

    Attributes:
        name: in summary.json.
        metric: by which networks and epochs are compared.
        score_names: what `Evaluation.scored` gives, in the order of summary.json.
        columns: of these, those that the report's table shows beside the metric, by their heads.
        noun: what labels are called in messages.
        dtype: of labels, as a split holds them.
        has_classes: whether a softmax of the outputs means anything, which most methods of logits compare.
        listed: whether classes are so few that each is worth a line.
        moves: whether labels lie in the image, so that they move with it.
        confidence, share_right: what `Calibration` compares, in the report's figure.
        targets_form: what the labels of a batch must be, in messages.
        traits: what methods may count on.
    """

    name: ClassVar[str]
    metric: ClassVar[Metric]
    score_names: ClassVar[tuple[str, ...]]
    columns: ClassVar[Mapping[str, str]] = {}
    noun: ClassVar[str] = "classes"
    dtype: ClassVar[torch.dtype] = torch.long
    has_classes: ClassVar[bool] = True
    moves: ClassVar[bool] = False
    listed: ClassVar[bool] = True
    targets_form: ClassVar[str] = ""
    confidence: ClassVar[str] = "confidence"
    share_right: ClassVar[str] = "share right"

    @property
    @abstractmethod
    def traits(self) -> frozenset[Trait]:
        """What methods may count on."""

    def settings(self) -> dict[str, Any]:
        """The arguments that it was made with, as plain data."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def positions(self, height: int, width: int) -> tuple[int, ...] | None:
        """Of what logits of images of this size have a value for each class; () for the image itself. None: that is
        for each network to choose."""
        return ()

    # ------------------------------------------------------------------------------------------ labels

    @abstractmethod
    def check_targets(self, label: str, targets: Tensor, classes: int) -> None:
        """Raise SettingError, which begins with `label`, for labels that aren't this task's, of a split (N, ...)."""

    def as_shown(self, targets: Tensor, placement: Placement | None) -> Tensor:
        """Labels as batches hold them, of (n, ...) ones as a split holds them.

        placement: what was done to their images, which labels that lie in them follow; None: nothing.
        """
        return targets

    def valid(self, targets: Tensor) -> Tensor | None:
        """(n, *positions) bool, which positions of a batch's labels count; None: all."""
        return None

    def as_targets(self, targets: Any) -> Any | None:
        """What a user's loader yields as labels of a batch, of any type, as this task's; None where it isn't any."""
        return targets

    @abstractmethod
    def check_told_apart(self, name: str, targets: Tensor, class_names: Sequence[str]) -> None:
        """Raise SettingError if the training labels of the data of this name leave nothing to learn."""

    def check_measurable(self, name: str, targets: Tensor) -> None:  # noqa: B027 (most labels are)
        """Raise SettingError if nothing can be scored by these labels of the data of this name."""

    @abstractmethod
    def counts(self, targets: Tensor, classes: int) -> Tensor:
        """(C,) how many samples have each class."""

    @abstractmethod
    def strata(self, targets: Tensor) -> Tensor:
        """(N,) int64 groups; a share of the samples is drawn from each group alike."""

    @abstractmethod
    def balanced(self, targets: Tensor) -> Tensor:
        """(N,) int64 groups that `data.sampling=balanced` shows equally often; SettingError where there are none."""

    @abstractmethod
    def shown(self, targets: Tensor, classes: int, *, balanced: bool) -> Tensor:
        """(C,) share of the samples that have each class, as an epoch shows them; for `class_weights`."""

    @abstractmethod
    def as_probabilities(self, targets: Tensor, classes: int) -> Tensor:
        """Labels that can be blended: float, (N, classes)."""

    @abstractmethod
    def renumbered(self, targets: Tensor, numbers: Tensor, classes: int) -> Tensor:
        """Labels among so many classes, of which `numbers[i]` is what class i was."""

    @abstractmethod
    def blank(self, count: int, classes: int) -> Tensor:
        """Labels of images of which nothing is known, and at which nobody looks."""

    def blank_of(self, scales: Tensor, classes: int) -> Tensor:
        """The same, of images for a pixel of which, as they are shown, there are (N,) so many in their files."""
        return self.blank(len(scales), classes)

    @abstractmethod
    def in_words(self, targets: Tensor, classes: int) -> str:
        """What is said of the training labels: '10 classes of 36 to 40'."""

    # ------------------------------------------------------------------------------------------ learning

    @abstractmethod
    def as_distributions(self, logits: Tensor) -> Tensor:
        """A network's logits as (rows, classes, *positions), whose softmax over dimension 1 are probabilities."""

    @abstractmethod
    def as_classes(self, targets: Tensor) -> Tensor:
        """Labels as (rows, *positions) int64 classes of these distributions, or probabilities of their shape."""

    @abstractmethod
    def label_loss(self, smoothing: float = 0.0, weights: Tensor | None = None) -> nn.Module:
        """Maps a network's own logits and labels, mixed ones too, to a scalar of at least float32.

        weights: as `class_weights` gives them.
        """

    def teach(self, method: Method, label_loss: nn.Module | None = None) -> None:
        """Let a method see this task's logits and labels, and learn labels by its loss or by the one that is given.

        Raises:
            SettingError: the method needs what the task has not.
        """
        check_method(self, method)
        method.see_by(self)
        method.learn_labels_by(self.label_loss() if label_loss is None else label_loss)

    @abstractmethod
    def class_weights(self, asked: ClassWeights, shown: Tensor) -> Tensor:
        """What the setting means for labels that are shown so often.

        Raises:
            ValueError: not a weight for each class, or weights that leave nothing to learn.
        """

    @abstractmethod
    def measure(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Of a training batch: scalars on the device, means over it. `answers` are the teacher's."""

    @abstractmethod
    def measure_unseen(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Of a validation batch, likewise."""

    def epoch_metrics(self) -> dict[str, torchmetrics.Metric]:
        """What is worked out over a whole split because it is no mean over samples; called with (logits, targets).

        Made with `sync_on_compute=False`: validation merges what the processes have gathered.
        """
        return {}

    # ------------------------------------------------------------------------------------------ evidence

    @abstractmethod
    def evaluation(self, classes: int) -> Evaluation:
        """A new one."""

    @abstractmethod
    def chance(self, targets: Tensor) -> float:
        """What a guesser who knows these labels' frequencies gets of the metric."""

    def decisions(self, logits: Tensor, targets: Tensor) -> Decisions | None:
        """What a network decides for a batch, row by row; None where its answers are no distributions over classes."""
        return None

    def compared_with_right(self, shares: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """What `Calibration` compares of (rows, C) probabilities: (rows,) how sure each row is, and whether rightly."""
        confidence, named = shares.max(1)
        return confidence, named == classes

    @abstractmethod
    def disagreement(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """(N,) how plainly two networks say different things of each sample; 0 where they say the same."""

    @abstractmethod
    def answer(self, logits: Tensor, target: Tensor, class_names: Sequence[str]) -> tuple[str, bool]:
        """What one sample's (C,) logits say in a few words, and whether that is right."""

    @abstractmethod
    def truth(self, target: Tensor, class_names: Sequence[str]) -> str:
        """What one sample's label says."""

    def outputs_fault(self, outputs: Outputs, images: int, classes: int) -> str | None:
        """Why outputs for so many images are no answers for this task, as what their network does; None: they are."""
        if outputs.reading is not None:
            return f"finds objects in an image, and {self.name} data has none: choose a network that gives logits"
        if len(shape := tuple(outputs.logits.shape)) != 2 or shape[0] != images:
            return f"answers {images} images with logits of shape {shape}; must be (images, {classes})"
        return None

    def decided(self, logits: Tensor) -> Tensor | None:
        """What one sample's logits say, as its labels would in a batch, to be drawn; None: words will do."""
        return None

    def drawn(self, image: Tensor, target: Tensor, class_names: Sequence[str]) -> Tensor:
        """(3, H, W) uint8: one sample's labels as a picture, beside or on its image, (C, h, w) uint8."""
        raise NotImplementedError

    @abstractmethod
    def outputs_doubt(self, role: str, logits: Tensor, *, trained: bool) -> str | None:
        """What is wrong with a network's outputs, (N, C), if they aren't logits; None for logits.

        An untrained network's may lie between 0 and 1 by chance, and are not doubted for that.
        """

    # ------------------------------------------------------------------------------------------ tables

    def in_the_file(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Answers to images as answers to their files, which may be larger; the same where sizes don't matter."""
        return logits

    @abstractmethod
    def named_columns(self, class_names: Sequence[str]) -> list[str]:
        """The heads of `named`."""

    @abstractmethod
    def named(self, logits: Tensor, class_names: Sequence[str]) -> list[list[str]]:
        """For each of (N, C) logits the cells that `predict` writes: what is named, with its probability."""

    @abstractmethod
    def compared_columns(self, class_names: Sequence[str]) -> list[str]:
        """The heads of `compared`."""

    @abstractmethod
    def compared(
        self, logits: Tensor, teacher: Tensor | None, targets: Tensor, class_names: Sequence[str]
    ) -> list[list[str]]:
        """For each sample the cells that `evaluate predictions=FILE` writes: label, student's answer, teacher's."""

    script: ClassVar[str]
    """The last lines of the script beside an export: from `logits`, (C,) numpy, and `way["classes"]` to a line."""


def comparable(logits: Tensor, answers: Outputs) -> bool:
    """Whether a teacher answers for the same classes; one whose features alone are of use need not."""
    return answers.top_k is not None or answers.logits.shape[1] == logits.shape[1]


def check_method(task: Task, method: Method, names: Sequence[str] | None = None) -> None:
    """Compare what each member of a method needs with what the task has.

    Args:
        task, method: of a run.
        names: of the members, as messages shall call them; None for those of their classes.

    Raises:
        SettingError: the first need that isn't met.
    """
    members = method.members if isinstance(method, Composite) else [method]
    for member, name in zip(members, names or [type(member).__name__ for member in members], strict=True):
        missing = [need for need in sorted(member.needed()) if need not in task.traits]
        if missing:
            switch = "standardize_logits=true" if member.standardize_logits and not member.needs else ""
            raise SettingError(
                f"{name}{f'.{switch}' if switch else ''}: needs {missing[0]}, which {task.name} data has not; choose "
                "a method that works without, such as kd, or one of features"
            )
        if not task.has_classes and member.needs_teacher and member.needs_logits and not member.raw_logits:
            raise SettingError(
                f"{name}: compares distributions over classes, which {task.name} data has not; choose logit_mse, or a "
                "method of features, such as fitnet"
            )
