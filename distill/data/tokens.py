"""Token sequences of different lengths: kept without padding, and padded as they are shown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from distill.types import Batch

PAD_TO = 16
"""Sequences are padded to a multiple of so many tokens. A CPU sums attention over so many at once: what a network says
of a sample is then the same, bit for bit, however far its batch is padded, and kept answers are those of any epoch."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token sequences in memory, one behind the other.

    columns: (sum of lengths,) integers by the name under which a network takes them: input_ids, and what else each
        token has, such as token_type_ids.
    starts: (N + 1,) int64; sample i holds the tokens from starts[i] to starts[i + 1].
    targets: as the task has them, (N, ...).
    padding: by column, the number that stands behind the last token; 0 where none is given.
    texts: what the tokens were, for reports; empty where that is unknown.
    names: of the samples; where there are none, a sample's place in the split is its name.
    longest: to more tokens than this nothing is padded; None: as far as it comes.
    made_by: what tells the tokenizer from others, for keys of kept answers.
    """

    columns: Mapping[str, Tensor]
    starts: Tensor
    targets: Tensor
    padding: Mapping[str, int] = field(default_factory=dict)
    texts: Sequence[str] = ()
    names: Sequence[str] = ()
    longest: int | None = None
    made_by: bytes = b""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> Tensor:
        """(N,) int64, tokens of each sample."""
        return self.starts.diff()

    def name(self, index: int) -> str:
        """What to call a sample."""
        return self.names[index] if self.names else str(index)

    def contents(self) -> Iterator[bytes | memoryview]:
        """Of all tokens and labels."""
        for name, column in self.columns.items():
            yield f"{name} {column.dtype} {self.padding.get(name, 0)}".encode()
            yield column.contiguous().numpy().data
        yield self.made_by
        yield self.starts.numpy().tobytes()
        yield self.targets.numpy().tobytes()

    def inputs(self, indices: Tensor) -> dict[str, Tensor]:
        """The columns and attention_mask, (n, T) int64 each; T is the longest length, rounded up to `PAD_TO`.

        attention_mask is 1 at a sample's tokens and 0 behind them.
        """
        lengths = self.lengths[indices]
        width = -(-int(lengths.max()) // PAD_TO) * PAD_TO if len(indices) else 0
        places = torch.arange(width if self.longest is None else min(width, self.longest))
        there = places < lengths[:, None]
        taken = (self.starts[indices][:, None] + places)[there]
        inputs = {}
        for name, column in self.columns.items():
            inputs[name] = torch.full(there.shape, self.padding.get(name, 0), dtype=torch.long)
            inputs[name][there] = column[taken].long()
        return {**inputs, "attention_mask": there.long()}

    def text(self, index: int) -> str:
        """What a sample's tokens were; its name where that is unknown."""
        return self.texts[index] if self.texts else self.name(index)

    def batch(self, indices: Tensor) -> Batch:
        """The samples with their targets."""
        return Batch(self.inputs(indices), self.targets[indices])
