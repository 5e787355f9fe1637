"""Regression: each sample has a number."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor, nn
from torchmetrics.utilities import dim_zero_cat

from distill.errors import SettingError
from distill.losses.logits import precise
from distill.methods.labels import ClassWeights
from distill.methods.view import Trait
from distill.tasks.base import Metric, Task
from distill.tasks.correlation import pearson, spearman
from distill.tasks.evaluation import Evaluation, Scored, Standing
from distill.types import Outputs

DOUBT = 3.1  # standard deviations above chance that one in a thousand guessers gets


class Regression(Task):
    """Labels (N,) float32, outputs (N, 1), the squared error between them. No classes, and so no distributions."""

    name = "regression"
    metric = Metric("spearman", higher_is_better=True, words="Spearman")
    score_names = ("spearman", "pearson", "mse", "agreement")
    columns: ClassVar[Mapping[str, str]] = {"Pearson": "pearson"}
    noun = "numbers"
    dtype = torch.float32
    has_classes = False
    targets_form = "numbers, (N,) or (N, 1)"
    script = '    print(file, f"{logits[0]:.6g}", sep="\\t")\n'

    @property
    def traits(self) -> frozenset[Trait]:
        """None."""
        return frozenset()

    # ------------------------------------------------------------------------------------------ labels

    def check_targets(self, label: str, targets: Tensor, classes: int) -> None:
        """(N,) finite numbers."""
        if targets.ndim != 1 or not bool(targets.isfinite().all()):
            raise SettingError(f"{label} labels are of shape {tuple(targets.shape)}; must be (N,) finite numbers")

    def as_targets(self, targets: Any) -> Tensor | None:
        """(N,) and (N, 1) of any type as (N,) float32."""
        if not isinstance(targets, Tensor) or targets.numel() != len(targets):
            return None
        return targets.flatten().float()

    def check_told_apart(self, name: str, targets: Tensor, class_names: Sequence[str]) -> None:
        """At least two different numbers."""
        if len(targets.unique()) < 2:
            raise SettingError(f"data: {name} has one number for all training samples: there is nothing to learn")

    def check_measurable(self, name: str, targets: Tensor) -> None:
        """Likewise, or nothing can go together with them."""
        if len(targets.unique()) < 2:
            raise SettingError(f"data: {name} has one number for all validation samples, with which nothing correlates")

    def counts(self, targets: Tensor, classes: int) -> Tensor:
        """All samples."""
        return torch.tensor([len(targets)])

    def strata(self, targets: Tensor) -> Tensor:
        """One."""
        return torch.zeros(len(targets), dtype=torch.long)

    def balanced(self, targets: Tensor) -> Tensor:
        """There is nothing to balance."""
        raise SettingError("data.sampling=balanced: needs classes, and labels are numbers; must be shuffled")

    def shown(self, targets: Tensor, classes: int, *, balanced: bool) -> Tensor:
        """All of them."""
        if balanced:
            self.balanced(targets)
        return torch.ones(1)

    def as_probabilities(self, targets: Tensor, classes: int) -> Tensor:
        """(N, 1): numbers blend as they are."""
        return targets[:, None]

    def renumbered(self, targets: Tensor, numbers: Tensor, classes: int) -> Tensor:
        """The same."""
        return targets

    def blank(self, count: int, classes: int) -> Tensor:
        """Zeros."""
        return torch.zeros(count)

    def in_words(self, targets: Tensor, classes: int) -> str:
        """'with numbers from 0 to 5'."""
        return f"with numbers from {float(targets.min()):g} to {float(targets.max()):g}"

    # ------------------------------------------------------------------------------------------ learning

    def as_distributions(self, logits: Tensor) -> Tensor:
        """They are none; methods that compare numbers see them as they are."""
        return logits

    def as_classes(self, targets: Tensor) -> Tensor:
        """They are none."""
        return targets

    def label_loss(self, smoothing: float = 0.0, weights: Tensor | None = None) -> nn.Module:
        """The mean squared error."""
        if smoothing:
            raise SettingError(f"label_smoothing={smoothing}: needs classes, and labels are numbers; must be 0")
        return SquaredError()

    def class_weights(self, asked: ClassWeights, shown: Tensor) -> Tensor:
        """There are no classes."""
        raise ValueError(f"class_weights={asked}: needs classes, and labels are numbers; must be null")

    def measure(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """The squared error; with a teacher also the squared difference from its numbers."""
        with torch.no_grad():
            values = {"mse": F.mse_loss(logits.float().flatten(), targets.float().flatten())}
            if answers is not None and answers.logits.shape == logits.shape:
                values["teacher_mse"] = F.mse_loss(logits.float(), answers.logits.float())
        return values

    def measure_unseen(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Likewise."""
        return self.measure(logits, answers, targets)

    def epoch_metrics(self) -> dict[str, torchmetrics.Metric]:
        """The correlations, which are no means over samples."""
        return {"spearman": _Spearman(), "pearson": _Pearson()}

    # ------------------------------------------------------------------------------------------ evidence

    def evaluation(self, classes: int) -> Evaluation:
        """Correlations and the squared error."""
        return _Evaluation()

    def chance(self, targets: Tensor) -> float:
        """Of numbers that have nothing to do with them."""
        return 0.0

    def disagreement(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """The difference."""
        return (logits - teacher).abs().flatten()

    def answer(self, logits: Tensor, target: Tensor, class_names: Sequence[str]) -> tuple[str, bool]:
        """The number; no number is quite right, and none is marked as wrong."""
        return f"{float(logits):.3g}", True

    def truth(self, target: Tensor, class_names: Sequence[str]) -> str:
        """The number."""
        return f"{float(target):.3g}"

    def outputs_doubt(self, role: str, logits: Tensor, *, trained: bool) -> str | None:
        """Any number may be meant."""
        return None

    # ------------------------------------------------------------------------------------------ tables

    def named_columns(self, class_names: Sequence[str]) -> list[str]:
        """value."""
        return ["value"]

    def named(self, logits: Tensor, class_names: Sequence[str]) -> list[list[str]]:
        """The number."""
        return [[f"{value:.6g}"] for value in logits.flatten().tolist()]

    def compared_columns(self, class_names: Sequence[str]) -> list[str]:
        """The numbers."""
        return ["target", "predicted", "teacher"]

    def compared(
        self, logits: Tensor, teacher: Tensor | None, targets: Tensor, class_names: Sequence[str]
    ) -> list[list[str]]:
        """The numbers."""
        columns = [targets, logits.flatten(), *([] if teacher is None else [teacher.flatten()])]
        rows = [[f"{value:.6g}" for value in row] for row in torch.stack(columns, 1).tolist()]
        return [row if teacher is not None else [*row, ""] for row in rows]


class SquaredError(nn.Module):
    """The mean squared error of (N, 1) outputs, at least float32."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """targets: (N,) or (N, 1)."""
        return F.mse_loss(precise(logits).flatten(), targets.to(precise(logits).dtype).flatten())


class _Correlation(torchmetrics.Metric):
    """Of (n, 1) outputs with (n,) numbers, over all batches and processes."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)
        for name in ("outputs", "numbers"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        self.outputs.append(logits.detach().float().flatten())  # type: ignore[operator, union-attr]
        self.numbers.append(targets.float().flatten())  # type: ignore[operator, union-attr]

    def both(self) -> tuple[Tensor, Tensor]:
        """All of them, on the CPU."""
        outputs, numbers = (dim_zero_cat(part).cpu() for part in (self.outputs, self.numbers))  # type: ignore[arg-type]
        return outputs, numbers


class _Pearson(_Correlation):
    def compute(self) -> Tensor:
        return pearson(*self.both())


class _Spearman(_Correlation):
    def compute(self) -> Tensor:
        return spearman(*self.both())


class _Evaluation(Evaluation):
    """Of (n, 1) outputs against (n,) numbers; samples score minus their squared error."""

    def __init__(self) -> None:
        super().__init__()
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._taught: list[Tensor] = []

    def update(self, logits: Tensor, targets: Tensor, teacher: Tensor | None) -> None:
        """Add a batch."""
        self.count += len(targets)
        self._outputs.append(logits.flatten())
        self._targets.append(targets.float())
        self._samples.append(-((logits.flatten() - targets.float()) ** 2))
        if teacher is not None:
            self._taught.append(teacher.flatten())

    def scored(self) -> Scored:
        """Correlations with the labels; `agreement` is Spearman's with the teacher's numbers."""
        outputs, targets = torch.cat(self._outputs), torch.cat(self._targets)
        mse = -float(self.samples.double().mean())
        values = {
            "spearman": float(spearman(outputs, targets)),
            "pearson": float(pearson(outputs, targets)),
            "mse": mse,
            "agreement": float(spearman(outputs, torch.cat(self._taught))) if self._taught else None,
        }
        return Scored(values, mse, self.calibration)

    def metric(self, weights: Tensor) -> Tensor:
        """Spearman's correlation."""
        return spearman(torch.cat(self._outputs), torch.cat(self._targets), weights)

    def by_class(self) -> tuple[Tensor, Tensor]:
        """All samples."""
        return torch.tensor([self.count]), torch.tensor([self.scored().values["spearman"]])

    def standing(self, chance: float) -> Standing:
        """Beside numbers that have nothing to do with the labels, whose correlation spreads by 1 / sqrt(N - 1)."""
        score = float(self.scored().values["spearman"] or 0.0)
        return Standing(score, self.count, chance, score > DOUBT / max(1, self.count - 1) ** 0.5)
