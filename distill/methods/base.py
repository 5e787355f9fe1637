"""What every method is: a small module that turns two networks' outputs into named loss terms."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from distill.errors import SettingError
from distill.losses.logits import precise, standardize
from distill.methods.checks import classes_of as classes_of
from distill.methods.checks import not_negative as not_negative
from distill.methods.checks import one_of as one_of
from distill.methods.checks import positive as positive
from distill.methods.labels import LabelLoss
from distill.methods.projections import terms_of_projections
from distill.methods.recorded_arguments import records_arguments
from distill.methods.shares import by_share_of_positions
from distill.methods.taps import Example as Example
from distill.methods.taps import Taps as Taps
from distill.methods.terms import LossTerms
from distill.methods.view import AsTheyAre, Trait, View
from distill.processes import joined_over_processes
from distill.schedules import Schedule
from distill.types import Batch, Outputs

T = TypeVar("T")
Reduction = Literal["batchmean", "sum", "mean", "positionmean"]  # of the divergences', those that give a scalar
FORMER_NAMES = {"imitate": "compute_losses", "prepare": "setup", "accompany": "setup_student"}
"""What parts of a subclass were called before; taken still, with a warning."""
LABELS = {"ce": 1.0, "auxiliary_ce": 0.5}  # shares of their weight; a second head's as in torchvision's own training
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)


class Method(nn.Module):
    """What to imitate. A subclass implements `compute_losses` and owns whatever it trains (projections, memory banks).

    Args:
        weight: factor on all imitation terms, zero or more.
        label_weight: of the cross-entropy with the true labels, zero or more; 0 leaves the term out.

    Attributes:
        taps: the layers whose outputs `compute_losses` finds in `features`, in this order.
        schedules: by attribute (`weight`, `temperature`, ...): a factor on its value over the run.
        accepts_top_k: whether `compute_losses` asks `teacher.at(self.temperature)` instead of `teacher.logits`, and so
            can do with the likeliest classes.
        accepts_pooled: whether (N, C) means over positions of what it taps in the teacher will do for `compute_losses`.
        standardize_logits: show `compute_losses` z-scored logits (2403.01427); the labels' cross-entropy sees them raw.
        chunked: whether `compute_losses` leaves its divergence to `diverge`, which needs no logits at once where the
            networks give hidden states and their output layers; other methods are shown the logits of all positions
            that count, one behind the other, as samples.
        needs_logits: False for a method that looks at the teacher's features alone, so that a teacher of other classes
            than the data's will do.
        needs_teacher: False for a method that works without one; its `forward` may then be given None.
        needs_labels: whether `setup` asks for the class of every training sample.
        needs_classes: whether `compute_losses` asks for the true class of each sample, whatever `label_weight` is.
        needs_classifier: whether `setup` asks for the teacher's last linear layer.
        needs: what a task must have for `compute_losses`; see `distill.methods.view.Trait`.
        gather: of methods that compare the samples of a batch with each other: whether they compare those of all
            processes in a step, as one process with the whole batch would, or each process its own.
        raw_logits: show `compute_losses` the networks' own logits in place of the task's view of them; where they are
            maps, the labels as maps too, and `batch.valid` says which positions count.
        arguments: what it was made with, by name; for those who log it or make it again.
        label_loss: the cross-entropy with the true labels that `label_weight` weighs: smoothed, by class, or plain.
    """

    taps: Taps = Taps()
    standardize_logits: bool = False
    accepts_top_k: bool = False
    accepts_pooled: bool = False
    chunked: bool = False
    needs_teacher: bool = True
    needs_labels: bool = False
    needs_classes: bool = False
    needs_classifier: bool = False
    needs_logits: bool = True
    needs: frozenset[Trait] = frozenset()
    gather: bool = False
    raw_logits: bool = False
    arguments: Mapping[str, Any]

    def __init_subclass__(cls, **options: Any) -> None:
        """Let each method know its arguments, whatever its `__init__` makes of them, and take former names."""
        super().__init_subclass__(**options)
        for old, new in FORMER_NAMES.items():
            if old in vars(cls):
                warnings.warn(f"{cls.__name__}.{old} is called {new} now", DeprecationWarning, stacklevel=2)
                setattr(cls, new, vars(cls)[old])
        if "__init__" in vars(cls):
            cls.__init__ = records_arguments(cls.__init__)  # type: ignore[method-assign]

    @records_arguments
    def __init__(self, *, weight: float, label_weight: float) -> None:
        super().__init__()
        self.weight = not_negative("weight", weight)
        self.label_weight = not_negative("label_weight", label_weight)
        self.schedules: dict[str, Schedule] = {}
        self._base_values: dict[str, float] = {}
        self.label_loss: nn.Module = LabelLoss()
        self.view: View = AsTheyAre()

    def learn_labels_by(self, loss: nn.Module) -> None:
        """Take this for the cross-entropy with the true labels: it maps logits and labels to a scalar."""
        self.label_loss = loss

    def see_by(self, view: View) -> None:
        """See logits and labels as this task does."""
        self.view = view

    def needed(self) -> frozenset[Trait]:
        """What a task must have, as the method is set."""
        needed = set(self.needs)
        if self.standardize_logits:
            needed.add("exclusive classes")
        if self.needs_labels:
            needed.add("a class for each sample")
        return frozenset(needed)

    @property
    def needs_example(self) -> bool:
        """Whether `setup` creates something, and so has to be called."""
        return type(self).setup is not Method.setup

    def setup(self, example: Example) -> None:
        """Create what depends on shapes or on the data. Called once, before training; most methods need nothing."""

    def setup_student(self, student: nn.Module) -> None:
        """Create what is made after the student itself. Called once, before training, with or without a teacher.

        student: maps (N, C, H, W) images to `Outputs`.
        """

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Named scalar terms, before their weights (see `weight_of`).

        Called outside autocast, with features in at least float32 and logits in the dtype that came (the divergences
        take them so without a copy); nothing of the teacher carries a gradient.
        """
        raise NotImplementedError

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """Named scalar terms, weighted, whose sum is the loss; `unweighted` has them without their weights."""
        places = self.places(student, batch)
        seen = self._prepare_batch(student, batch, places)
        with torch.autocast(student.logits.device.type, enabled=False):
            shown = self.prepare_outputs(student, places), self.prepare_outputs(teacher, places).detach()
            terms = self.compute_losses(*shown, seen)
        if not isinstance(terms, dict):
            raise SettingError(
                f"{type(self).__name__}.compute_losses returned a {type(terms).__name__}; "
                "must be a dict of scalars by name"
            )
        of_positions = places is not None or student.projection is not None
        if of_positions and self.needs_logits and not self.gather:
            terms = by_share_of_positions(terms, batch)
        if "ce" not in terms:  # else learned in the same pass over logits
            terms = by_share_of_positions(self.label_terms(student, batch), batch) | terms
        return LossTerms.weigh(terms, self.weight_of)

    def diverge(
        self,
        term: str,
        divergence: Callable[..., Tensor],
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        temperature: float,
        reduction: Reduction,
        **own: Any,
    ) -> dict[str, Float[Tensor, ""]]:
        """The term of a divergence of `distill.losses` between both networks, for `compute_losses`.

        Of logits that are not made it is the mean over the positions that count, whatever the reduction, and comes with
        the term `ce` of the labels, from the same pass.

        Args:
            term: its name.
            divergence, temperature, reduction: which, and how it is to be called.
            student, teacher, batch: as `compute_losses` is given them.
            own: keywords of this divergence alone.
        """
        if student.projection is None:
            kept = teacher.at(temperature)
            return {term: divergence(student.logits, kept, temperature=temperature, reduction=reduction, **own)}
        weights = (self.weight_of(term), self.label_weight)
        learns = self.label_weight > 0 or "label_weight" in self.schedules
        soft, hard = terms_of_projections(
            partial(divergence, **own),
            student,
            teacher,
            batch,
            temperature,
            weights,
            self.label_loss if learns and not batch.written else None,
        )
        return {"ce": hard, term: soft} if learns else {term: soft}

    def weight_of(self, term: str) -> float:
        """The factor of a term in the loss, by the term's name. To override where a term has a weight of its own."""
        return self.label_weight * LABELS[term] if term in LABELS else self.weight

    def pairs(self, student: Outputs, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """The tapped features, (student's, teacher's), paired by position.

        Raises:
            ValueError: the taps name no layers, or different numbers of them.
        """
        self.taps.check_paired()
        names = zip(self.taps.student, self.taps.teacher, strict=True)
        return [(student.features[s], teacher.features[t]) for s, t in names]

    def gathered(self, x: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "all ..."]:
        """What is compared, (N, ...) of this process's samples: with `gather`, that of all processes, by rank."""
        return joined_over_processes(x) if self.gather else x

    def gathered_pairs(self, student: Outputs, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """As `pairs`, flattened to (N, D) and gathered."""
        return [(self.gathered(s.flatten(1)), self.gathered(t.flatten(1))) for s, t in self.pairs(student, teacher)]

    def label_terms(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The labels' cross-entropy, or the student's own loss, unweighted, at least float32; none at weight 0."""
        if self.label_weight == 0 and "label_weight" not in self.schedules:
            return {}
        if (made := student.projection) is not None:
            none = made.hidden.new_zeros(())
            return {"ce": none if batch.written else self.label_loss(made, batch.targets, batch.counted)}
        own = student.reading
        loss: Tensor = self.label_loss(student.logits, batch.targets) if own is None else own.label_loss(batch.targets)
        beside = student.auxiliary
        return {"ce": loss} | ({} if beside is None else {"auxiliary_ce": self.label_loss(beside, batch.targets)})

    def deploy(self, backbone: nn.Module) -> nn.Module:
        """The network to validate, save and export, sharing its weights with `backbone`: for most methods, itself.

        Another module needs an attribute `recipe`, so that a finished run can be opened without the method: see
        `distill.models.network.Network.around`.
        """
        return backbone

    def deployed_logits(self, student: Outputs) -> Tensor | None:
        """The logits of what `deploy` gives, as far as a training pass of the student tells them; else None."""
        return student.logits

    def set_progress(self, progress: float) -> None:
        """Move what is scheduled to its value at this share of the run, in [0, 1]. Called before each step."""
        for name, schedule in self.schedules.items():
            value = getattr(self, name, None)
            if not isinstance(value, float | int) or isinstance(value, bool):
                raise ValueError(f"schedules={list(self.schedules)}: {type(self).__name__} has no number named {name}")
            base = self._base_values.setdefault(name, value)
            setattr(self, name, base * schedule(progress))

    def scheduled(self) -> dict[str, float]:
        """The current values of the numbers that follow a schedule and are no weights, by name: a temperature."""
        weights = ("weight", "label_weight")
        return {name: float(getattr(self, name)) for name in self.schedules if name not in weights}

    @property
    def _takes_projections(self) -> bool:
        return self.chunked and not self.standardize_logits

    def places(self, student: Outputs, batch: Batch) -> Tensor | None:
        """(R,) int64, the rows of the task's view of logits whose positions count; None: all, or the method looks at
        maps or projections, and asks `batch.valid` itself."""
        whole = self.raw_logits if student.projection is None else self._takes_projections
        return None if whole or batch.valid is None else batch.valid.flatten().nonzero().flatten()

    def prepare_outputs(self, outputs: Outputs, places: Tensor | None = None) -> Outputs:
        """A network's outputs for `compute_losses`: precise features, and logits as task and method see them.

        places: as `places` gives them; None: all.
        """
        outputs = replace(outputs, features={name: precise(feature) for name, feature in outputs.features.items()})
        if outputs.projection is not None and self._takes_projections:
            return outputs
        logits, top_k = outputs.logits, outputs.top_k
        if outputs.projection is not None:
            logits = outputs.projection.logits(slice(None) if places is None else places)
        else:
            view = (lambda x: x) if self.raw_logits and places is None else self.view.as_distributions
            logits, top_k = view(logits), None if top_k is None else top_k.map(view)
            if places is not None:
                logits = logits.index_select(0, places)
                top_k = None if top_k is None else top_k.map(lambda part: part.index_select(0, places))
        logits = standardize(logits) if self.standardize_logits else logits
        return replace(outputs, logits=logits, top_k=top_k, projection=None)

    def _prepare_batch(self, student: Outputs, batch: Batch, places: Tensor | None) -> Batch:
        """The batch for `compute_losses`: labels as the task sees them, of the positions that count."""
        if self.raw_logits and student.projection is None and batch.valid is not None:
            return batch
        targets = self.view.as_classes(batch.targets)
        if places is not None:
            return replace(batch, targets=targets.flatten().index_select(0, places), valid=None)
        made = student.projection is not None and not self._takes_projections
        return replace(batch, targets=targets.flatten() if made else targets)
