"""Text as token ids, each with whether a language model is to learn it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100
"""The target of a position from which nothing is to be learned."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of a document or a conversation.

    ids: (T,) int64.
    counts: (T,) bool, which tokens are to be predicted, each from those before it. The first never is.
    """

    ids: Tensor
    counts: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, ids: Sequence[int], counts: Sequence[bool] | None = None) -> "Encoded":
        """From lists; without `counts` every token is to be learned."""
        learned = torch.ones(len(ids), dtype=torch.bool) if counts is None else torch.tensor(counts, dtype=torch.bool)
        return cls(torch.tensor(ids, dtype=torch.long), learned)

    @property
    def targets(self) -> Tensor:
        """(T,) int64: the next token of each where that is to be learned, else -100. The mask moves with the labels."""
        following = torch.where(self.counts[1:], self.ids[1:], IGNORED)
        return torch.cat([following, torch.full((1,), IGNORED)]) if len(self) else following

    def cut(self, length: int) -> "Encoded":
        """The first `length` tokens: what is cut off is the end, never the prompt."""
        return Encoded(self.ids[:length], self.counts[:length])

    def pieces(self, length: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Ids and targets of at most `length` positions each, of all positions once.

        A piece knows the token after its last one as that one's target, so that none is lost at a cut. The last token
        of all predicts nothing, and is in no piece.
        """
        targets = self.targets[:-1]
        for start in range(0, len(targets), length):
            yield self.ids[start : min(start + length, len(targets))], targets[start : start + length]
