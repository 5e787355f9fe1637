"""A source of texts, as tokens."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from distill.data.augment import Augment
from distill.data.batches import Batches, Order, SequenceBatches
from distill.data.samples import Sequences
from distill.data.source import Source, check_labels
from distill.data.token_format import TokenFormat
from distill.errors import SettingError
from distill.types import SplitName


@dataclass(frozen=True, slots=True)
class TokenSource(Source):
    """A source of token sequences, whose batches are padded to their longest.

    format: what made the tokens, and how long they may be.
    tokenizer: of `transformers`, which a finished run keeps; None where nobody will ask for it.

    Raises:
        SettingError: an empty split, labels outside the classes, or a sample without a token.
    """

    train: Sequences
    val: Sequences
    test: Sequences | None = None
    format: TokenFormat = field(default_factory=lambda: TokenFormat("", 0))
    tokenizer: Any = None
    noun: ClassVar[str] = "texts"

    def __post_init__(self) -> None:
        for label, split in self.parts.items():
            check_labels(f"{self.name}: {label}", split.targets, self.task, len(self.class_names))
            empty = (split.lengths == 0).nonzero().flatten().tolist() if split.lengths is not None else []
            if empty:
                raise SettingError(f"{self.name}: {label}: {split.name(empty[0])} has no token; leave it out")

    @property
    def size_in_words(self) -> str:
        """Tokens of the shortest and of the longest training sample."""
        lengths = self.train.lengths
        assert lengths is not None
        return f"{int(lengths.min())} to {int(lengths.max())} tokens"

    @property
    def longest(self) -> int:
        """As cut when they were read."""
        return self.format.max_length

    def shown(self, index: int) -> str:
        """A text of the validation split."""
        return self.val.text(index)

    def batches(
        self,
        split: SplitName,
        order: Order,
        *,
        augment: Augment | None = None,
        seed: int = 0,
        device: torch.device | None = None,
        workers: int = 0,
        pool: Tensor | None = None,
    ) -> Batches:
        """Batches of a split in an order; nothing is augmented, and nothing read by workers."""
        return SequenceBatches(self.train if split == "train" else self.val, order, device)
