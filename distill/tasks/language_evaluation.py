"""What a language model is worth: of each position that counts, and of whole splits."""

import math

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor

from distill.losses import Projection, kl_divergence
from distill.tasks.evaluation import Evaluation, Scored, Standing

ROWS = 256  # positions whose logits exist at a time
IGNORED = -100
SURE = 4.0  # standard errors by which a network must beat a guesser


class Perplexity(torchmetrics.Metric):
    """exp of the mean negative log-likelihood of the tokens that count, over a whole split."""

    nll: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)
        for name in ("nll", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor | Projection, targets: Tensor) -> None:
        """Add a batch."""
        found = TokenScores.of(as_projection(logits), targets, None)
        self.nll += found.nll.double().sum()
        self.count += found.count

    def compute(self) -> Tensor:
        """A scalar."""
        return (self.nll / self.count).exp()


class TokenScores:
    """What one pass over the logits of the positions that count tells.

    sample: (M,) which sample each position is of. nll, right, sure: (M,) of each. agreement, kl: sums, with a teacher.
    """

    def __init__(self, sample: Tensor, samples: int) -> None:
        self.sample, self.samples = sample, samples
        self.nll, self.right, self.sure = sample.new_zeros(3, len(sample), dtype=torch.float32)
        self.agreement: Tensor | None = None
        self.kl: Tensor | None = None

    @property
    def count(self) -> int:
        """Positions that count."""
        return len(self.sample)

    def by_sample(self, values: Tensor) -> Tensor:
        """(N,) float64 sums of (M,) values."""
        return torch.zeros(self.samples, dtype=torch.float64).index_add_(0, self.sample.cpu(), values.double().cpu())

    @classmethod
    @torch.no_grad()
    def of(cls, projection: Projection, targets: Tensor, teacher: Projection | None) -> "TokenScores":
        """Of (N, T) positions and next tokens, beside a teacher's or without."""
        places = (targets != IGNORED).flatten().nonzero().flatten()
        found = cls(places // targets.shape[1], len(targets))
        labels = targets.flatten()[places]
        if teacher is not None and teacher.classes == projection.classes:
            found.agreement, found.kl = places.new_zeros(2, dtype=torch.float64)
        for start in range(0, len(places), ROWS):
            rows = slice(start, start + ROWS)
            logits, label = projection.logits(places[rows]), labels[rows]
            said = logits.argmax(1)
            found.nll[rows] = F.cross_entropy(logits, label, reduction="none").float()
            found.right[rows] = (said == label).float()
            found.sure[rows] = logits.softmax(1).amax(1).float()
            if teacher is not None and found.agreement is not None and found.kl is not None:
                taught = teacher.logits(places[rows])
                found.agreement += (said == taught.argmax(1)).sum()
                found.kl += kl_divergence(logits, taught, reduction="sum").double()
        return found


class LanguageEvaluation(Evaluation):
    """Of a language model's projections against (n, T) next tokens."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self._nll: list[Tensor] = []
        self._tokens: list[Tensor] = []
        self._squares = 0.0

    def update(self, logits: Tensor | Projection, targets: Tensor, teacher: Tensor | Projection | None) -> None:
        """Add a batch."""
        other = None if teacher is None else as_projection(teacher)
        found = TokenScores.of(as_projection(logits), targets, other)
        tokens = (targets != IGNORED).sum(1).double()
        self.count += len(targets)
        self._nll.append(found.by_sample(found.nll))
        self._tokens.append(tokens)
        self._samples.append(-self._nll[-1] / tokens)
        self._squares += float(found.nll.double().square().sum())
        self.calibration.add(found.sure, found.right.bool())
        self._add("accuracy", found.right.sum())
        if found.agreement is not None and found.kl is not None:
            self._add("agreement", found.agreement)
            self._add("kl", found.kl)

    @property
    def _totals(self) -> tuple[float, float]:
        """Sum of the negative log-likelihoods, and of the tokens that count."""
        return float(torch.cat(self._nll).sum()), float(torch.cat(self._tokens).sum())

    def _by_token(self, name: str) -> float | None:
        return self._sums[name] / self._totals[1] if name in self._sums else None

    def scored(self) -> Scored:
        """Perplexity, exp of the mean over all tokens that count; the others are means over these tokens too."""
        nll, tokens = self._totals
        values = {
            "perplexity": math.exp(min(700.0, nll / tokens)),
            "accuracy": self._by_token("accuracy"),
            "ece": self.calibration.error,
            "agreement": self._by_token("agreement"),
            "kl": self._by_token("kl"),
        }
        return Scored(values, nll / tokens, self.calibration)

    def metric(self, weights: Tensor) -> Tensor:
        """Perplexity."""
        return (weights @ torch.cat(self._nll) / (weights @ torch.cat(self._tokens))).exp()

    def by_class(self) -> tuple[Tensor, Tensor]:
        """Nothing by token: there are too many to list."""
        return torch.zeros(0, dtype=torch.long), torch.zeros(0)

    def standing(self, chance: float) -> Standing:
        """Against a guesser, by the standard error of the mean over tokens."""
        nll, tokens = self._totals
        mean = nll / tokens
        error = math.sqrt(max(0.0, self._squares / tokens - mean**2) / tokens)
        score = math.exp(min(700.0, mean))
        return Standing(
            score, int(tokens), chance, mean + SURE * error < math.log(chance), percent=False, noun="tokens"
        )


def as_projection(logits: Tensor | Projection) -> Projection:
    """What a language model answered; TypeError for logits that are made."""
    if isinstance(logits, Projection):
        return logits
    raise TypeError(
        "a language model answers with hidden states and its output layer, a distill.losses.Projection: wrap it in "
        "distill.models.causal_lm.CausalLM"
    )
