"""A split of token blocks: what a language model is shown, and what it is to predict."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from distill.data.language.encoded import IGNORED, Encoded
from distill.data.language.packing import pack
from distill.data.language.tokenizer import fingerprint
from distill.data.tokens import PAD_TO
from distill.types import Batch


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of tokens in memory, one behind the other. Each holds one piece of text, or several that are packed.

    ids, next_ids, positions: (sum of lengths,) int64 of each token: its id, the id to predict from it or -100, and its
        place within its piece.
    starts: (N + 1,) int64; block i holds the tokens from starts[i] to starts[i + 1].
    documents: (sum of lengths,) int64, the document that each token is of.
    block_size: positions in the longest block.
    packed: whether blocks hold several pieces, which see themselves alone.
    names: of the documents.
    tokenizer: what made the ids; None where that is unknown.
    """

    ids: Tensor
    next_ids: Tensor
    positions: Tensor
    starts: Tensor
    documents: Tensor
    block_size: int
    packed: bool
    names: Sequence[str] = ()
    tokenizer: Any = None

    @classmethod
    def of(
        cls,
        encoded: Sequence[Encoded],
        block_size: int,
        *,
        packed: bool,
        names: Sequence[str] = (),
        tokenizer: Any = None,
    ) -> "Blocks":
        """Documents as blocks; longer ones in pieces; without the pieces that have nothing to learn."""
        ids, targets, documents = [], [], []
        for number, document in enumerate(encoded):
            for piece, following in document.pieces(block_size):
                if bool((following != IGNORED).any()):
                    ids.append(piece)
                    targets.append(following)
                    documents.append(number)
        lengths = [len(piece) for piece in ids]
        blocks = pack(lengths, block_size) if packed else [[place] for place in range(len(ids))]
        order = [place for block in blocks for place in block]
        sizes = torch.tensor([0, *(sum(lengths[place] for place in block) for block in blocks)])
        empty = torch.empty(0, dtype=torch.long)
        return cls(
            torch.cat([empty, *(ids[place] for place in order)]),
            torch.cat([empty, *(targets[place] for place in order)]),
            torch.cat([empty, *(torch.arange(lengths[place]) for place in order)]),
            sizes.cumsum(0),
            torch.cat([empty, *(torch.full((lengths[place],), documents[place]) for place in order)]),
            block_size,
            packed,
            names,
            tokenizer,
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def targets(self) -> Tensor:
        """(N, block_size) int64, padded with -100."""
        return self._padded(self.next_ids, torch.arange(len(self)), self.block_size, IGNORED)

    @property
    def lengths(self) -> Tensor | None:
        """(N,) int64, tokens of each block; None where all are shown at one length."""
        return None if self.packed else self.starts.diff()

    @property
    def groups(self) -> Tensor:
        """(N,) int64, the document that each block begins with: blocks of one are no independent samples."""
        return self.documents[self.starts[:-1]]

    @property
    def _padding(self) -> int:
        """The id behind a block's last token, at which nobody looks."""
        known = None if self.tokenizer is None else self.tokenizer.pad_token_id or self.tokenizer.eos_token_id
        return known or 0

    def text(self, index: int) -> str:
        """A block as people read it."""
        ids = self.ids[self.starts[index] : self.starts[index + 1]]
        return str(self.tokenizer.decode(ids)) if self.tokenizer is not None else repr(ids.tolist())

    def marked(self, index: int) -> str:
        """A block as people read it, with marks around what counts; line breaks are written out."""
        rows = slice(int(self.starts[index]), int(self.starts[index + 1]))
        parts, counted = [], [False, *(self.next_ids[rows][:-1] != IGNORED).tolist()]
        for counts, run in groupby(zip(self.ids[rows].tolist(), counted, strict=True), key=lambda pair: pair[1]):
            text = self.tokenizer.decode([number for number, _ in run]).replace("\n", "\\n")
            parts.append(f"⟦{text}⟧" if counts else text)
        return "".join(parts)

    def contents(self) -> Iterator[bytes | memoryview]:
        """Bytes that differ where the tokenizer, a token, what is learned or what is packed does."""
        yield f"{self.block_size} {self.packed}".encode()
        if self.tokenizer is not None:
            yield fingerprint(self.tokenizer)
        for column in (self.ids, self.next_ids, self.positions, self.starts):
            yield column.numpy().tobytes()

    def name(self, index: int) -> str:
        """The document that a block begins with."""
        document = int(self.documents[self.starts[index]])
        return self.names[document] if self.names else str(document)

    def inputs(self, indices: Tensor) -> Mapping[str, Tensor]:
        """input_ids (n, T) int64, and what keeps padding and other pieces apart: attention_mask or position_ids.

        T is the longest length, rounded up, or the size of a block where they are packed. Positions begin at 0 in each
        piece, and in what is padded, by which `transformers` lets each piece see itself alone.
        """
        width = self._width(indices)
        ids = self._padded(self.ids, indices, width, self._padding)
        if not self.packed:
            lengths = self.starts.diff()[indices]
            return {"input_ids": ids, "attention_mask": (torch.arange(width) < lengths[:, None]).long()}
        places, lengths = torch.arange(width), self.starts.diff()[indices]
        behind = places - lengths[:, None]
        positions = self._padded(self.positions, indices, width, 0)
        return {"input_ids": ids, "position_ids": torch.where(behind >= 0, behind, positions)}

    def batch(self, indices: Tensor) -> Batch:
        """Blocks at (n,) indices with their targets (n, T), -100 at positions that do not count."""
        targets = self._padded(self.next_ids, indices, self._width(indices), IGNORED)
        return Batch(self.inputs(indices), targets, valid=targets != IGNORED)

    def _width(self, indices: Tensor) -> int:
        if self.packed:
            return self.block_size
        longest = int(self.starts.diff()[indices].max()) if len(indices) else 0
        return -(-longest // PAD_TO) * PAD_TO

    def _padded(self, column: Tensor, indices: Tensor, width: int, padding: int) -> Tensor:
        """(n, width) of a column, padded behind."""
        lengths = self.starts.diff()[indices]
        there = torch.arange(width) < lengths[:, None]
        rows = torch.full((len(indices), width), padding, dtype=torch.long)
        rows[there] = column[(self.starts[indices][:, None] + torch.arange(width))[there]]
        return rows
