"""Language modelling: at each position that counts, which token comes next."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor, nn

from distill.errors import SettingError
from distill.losses import Projection, linear_terms
from distill.methods.labels import ClassWeights, LabelLoss
from distill.methods.view import Trait
from distill.tasks.base import Metric, Task
from distill.tasks.decisions import Decisions, every
from distill.tasks.evaluation import Evaluation
from distill.tasks.language_evaluation import IGNORED, LanguageEvaluation, Perplexity, TokenScores, as_projection
from distill.types import Outputs


class LanguageModelling(Task):
    """Labels (N, T) int64: the next token of each position, or -100 where it does not count.

    Logits are a `Projection`: hidden states (N, T, H) and the output layer.
    """

    name = "language modelling"
    metric = Metric("perplexity", higher_is_better=False, words="perplexity", percent=False)
    score_names = ("perplexity", "accuracy", "ece", "agreement", "kl")
    columns = {"next token": "accuracy"}  # noqa: RUF012
    noun = "tokens"
    listed = False
    targets_form = "(N, T) token ids, -100 where a position does not count"
    script = ""

    @property
    def traits(self) -> frozenset[Trait]:
        """One token comes next; a sample has many."""
        return frozenset({"exclusive classes"})

    # ------------------------------------------------------------------------------------------ labels

    def check_targets(self, label: str, targets: Tensor, classes: int) -> None:
        """(N, T), -100 or below the number of tokens; some count."""
        if targets.ndim != 2:
            raise SettingError(f"{label} labels are of shape {tuple(targets.shape)}; must be {self.targets_form}")
        known = targets[targets != IGNORED]
        if len(known) == 0:
            raise SettingError(f"{label}: no token counts, so there is nothing to learn: check what is supervised")
        if int(known.min()) < 0 or int(known.max()) >= classes:
            raise SettingError(
                f"{label} labels run from {int(known.min())} to {int(known.max())}, and there are {classes} tokens"
            )

    def valid(self, targets: Tensor) -> Tensor | None:
        """Where a token follows that counts."""
        return targets != IGNORED

    def check_told_apart(self, name: str, targets: Tensor, class_names: Sequence[str]) -> None:
        """At least two different tokens."""
        if len(targets[targets != IGNORED].unique()) < 2:
            raise SettingError(f"data: {name} repeats one token, so that there is nothing to learn")

    def counts(self, targets: Tensor, classes: int) -> Tensor:
        """How often each token is to be predicted."""
        return targets[targets != IGNORED].bincount(minlength=classes)

    def strata(self, targets: Tensor) -> Tensor:
        """All alike."""
        return torch.zeros(len(targets), dtype=torch.long)

    def balanced(self, targets: Tensor) -> Tensor:
        """There are no classes of texts."""
        raise SettingError("data.sampling=balanced: needs a class for each sample; language models take shuffled")

    def shown(self, targets: Tensor, classes: int, *, balanced: bool) -> Tensor:
        """Their sum is 1."""
        counts = self.counts(targets, classes)
        return counts / counts.sum()

    def as_probabilities(self, targets: Tensor, classes: int) -> Tensor:
        """One-hot."""
        return F.one_hot(targets.clamp_min(0), classes).float()

    def renumbered(self, targets: Tensor, numbers: Tensor, classes: int) -> Tensor:
        """Token `numbers[i]` in place of i."""
        return torch.where(targets == IGNORED, IGNORED, numbers[targets.clamp_min(0)])

    def blank(self, count: int, classes: int) -> Tensor:
        """Nothing counts."""
        return torch.full((count, 1), IGNORED)

    def in_words(self, targets: Tensor, classes: int) -> str:
        """'with 93.1% of 12,800 tokens to learn, of a vocabulary of 257'."""
        counted = int((targets != IGNORED).sum())
        return f"with {counted:,} tokens to learn, of a vocabulary of {classes:,}"

    # ------------------------------------------------------------------------------------------ learning

    def as_distributions(self, logits: Tensor) -> Tensor:
        """(N, V, T) logits, of a few of the tokens too, by position: (N * T, V). One behind the other they are."""
        return logits if logits.ndim == 2 else logits.movedim(1, -1).flatten(0, 1)

    def as_classes(self, targets: Tensor) -> Tensor:
        """They are."""
        return targets

    def label_loss(self, smoothing: float = 0.0, weights: Tensor | None = None) -> nn.Module:
        """Cross-entropy, the mean over the tokens that count."""
        return TokenLoss(smoothing)

    def class_weights(self, asked: ClassWeights, shown: Tensor) -> Tensor:
        """Tokens are weighed alike."""
        raise ValueError(f"class_weights={asked}: weighs classes of samples; language models take null")

    def measure(self, logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Nothing beyond the terms of the loss, which tell as much: another pass over the logits would take long."""
        return {}

    def measure_unseen(
        self, logits: Tensor | Projection, answers: Outputs | None, targets: Tensor
    ) -> dict[str, Tensor]:
        """Cross-entropy and next-token accuracy; with a teacher agreement and KL(teacher || student), by token."""
        teacher = None if answers is None else answers.projection
        found = TokenScores.of(as_projection(logits), targets, teacher)
        values = {"ce": found.nll.sum() / found.count, "accuracy": found.right.sum() / found.count}
        if found.agreement is not None and found.kl is not None:
            values |= {"agreement": found.agreement / found.count, "kl": found.kl / found.count}
        return {name: value.float() for name, value in values.items()}

    def epoch_metrics(self) -> dict[str, torchmetrics.Metric]:
        """Perplexity, which is no mean over samples."""
        return {"perplexity": Perplexity()}

    # ------------------------------------------------------------------------------------------ evidence

    def evaluation(self, classes: int) -> Evaluation:
        """Perplexity, next-token accuracy, calibration, agreement."""
        return LanguageEvaluation(classes)

    def chance(self, targets: Tensor) -> float:
        """The perplexity of a guesser who knows how frequent each token is."""
        known = targets[targets != IGNORED]
        share = known.bincount().double() / len(known)
        return float(torch.special.entr(share).sum().exp())

    def decisions(self, logits: Tensor | Projection, targets: Tensor) -> Decisions | None:
        """One a token that counts, of tokens evenly spread over a batch."""
        projection, labels = as_projection(logits), targets.flatten()
        places = (labels != IGNORED).nonzero().flatten()
        places = places[:: every(len(places), projection.classes)]
        return Decisions(projection.logits(places).float(), labels[places])

    def disagreement(self, logits: Tensor | Projection, teacher: Tensor | Projection) -> Tensor:
        """The share of each sample's positions at which both name different tokens."""
        said, taught = (as_projection(each).likeliest() for each in (logits, teacher))
        return (said != taught).double().mean(1)

    def answer(self, logits: Tensor | Projection, target: Tensor, class_names: Sequence[str]) -> tuple[str, bool]:
        """What is named for the last position that counts."""
        place = int((target != IGNORED).nonzero().flatten()[-1])
        projection = as_projection(logits).detach()
        share, named = projection.logits(torch.tensor([place]))[0].softmax(0).max(0)
        return f"{class_names[int(named)]!r} ({float(share):.0%})", bool(named == target[place])

    def truth(self, target: Tensor, class_names: Sequence[str]) -> str:
        """The last token that counts."""
        return repr(class_names[int(target[target != IGNORED][-1])])

    def outputs_doubt(self, role: str, logits: Tensor, *, trained: bool) -> str | None:
        """Logits are made here of hidden states, by a linear layer."""
        return None

    # ------------------------------------------------------------------------------------------ tables

    def named_columns(self, class_names: Sequence[str]) -> list[str]:
        """The token after the last, and how likely it is."""
        return ["token", "probability"]

    def named(self, logits: Tensor, class_names: Sequence[str]) -> list[list[str]]:
        """The likeliest token."""
        shares, named = logits.softmax(1).max(1)
        return [[class_names[i], f"{share:.6f}"] for i, share in zip(named.tolist(), shares.tolist(), strict=True)]

    def compared_columns(self, class_names: Sequence[str]) -> list[str]:
        """Tokens that count, and both networks' mean negative log-likelihood of them."""
        return ["tokens", "nll", "teacher_nll"]

    def compared(
        self,
        logits: Tensor | Projection,
        teacher: Tensor | Projection | None,
        targets: Tensor,
        class_names: Sequence[str],
    ) -> list[list[str]]:
        """A line for each block."""
        own = TokenScores.of(as_projection(logits), targets, None)
        other = None if teacher is None else TokenScores.of(as_projection(teacher), targets, None)
        counts = (targets != IGNORED).sum(1)
        columns = [each.by_sample(each.nll) / counts for each in (own, other) if each is not None]
        rows = zip(counts.tolist(), *(column.tolist() for column in columns), strict=True)
        return [[str(count), *(f"{value:.6f}" for value in values)] + [""] * (other is None) for count, *values in rows]


class TokenLoss(LabelLoss):
    """The mean cross-entropy over the tokens that count, of logits that are not made or that are.

    smoothing: share of each label that is spread over all tokens.
    """

    def forward(self, logits: Tensor | Projection, targets: Tensor, counted: float | None = None) -> Tensor:
        """A scalar, at least float32.

        Args:
            logits: a Projection of (N, T) positions, or (N, V, T); (M, V) of positions one behind the other.
            targets: (N, T), or (M,), int64, -100 where a position does not count.
            counted: what the sum is divided by in place of how many count here.
        """
        if not isinstance(logits, Projection):
            return super().forward(logits, targets)
        return linear_terms(
            logits, None, hard_labels=targets, smoothing=self.smoothing, reduction="positionmean", count=counted
        )[1]
