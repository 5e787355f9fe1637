"""A source of token blocks for language models."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from distill.data.language.blocks import Blocks
from distill.data.language.encoded import IGNORED
from distill.data.language.tokenizer import TokenNames
from distill.data.source import Part
from distill.data.token_format import TokenFormat
from distill.data.token_source import TokenSource
from distill.errors import SettingError
from distill.tasks import LanguageModelling

SHOWN = 600  # characters of a block


@dataclass(frozen=True, slots=True)
class LanguageSource(TokenSource):
    """Blocks of tokens, of which the next one is to be predicted at each position that counts.

    tokenizer: what made them.
    """

    train: Blocks
    val: Blocks
    test: Blocks | None = None
    tokenizer: Any = None
    noun: ClassVar[str] = "blocks"
    unit: ClassVar[str | None] = "documents"

    def __post_init__(self) -> None:
        for label, split in self.parts.items():
            if not len(split):
                raise SettingError(
                    f"{self.name}: {label} split has nothing to learn: no text is left, or none of it counts"
                )
        TokenSource.__post_init__(self)

    @classmethod
    def of(
        cls,
        name: str,
        parts: Mapping[Part, Blocks],
        tokenizer: Any,
        place: str | None,
        notes: tuple[str, ...] = (),
        gguf_file: str | None = None,
    ) -> "LanguageSource":
        """From splits by their names; one that is alone, because no other was wanted, stands for all.

        place, gguf_file: directory of the tokenizer, and a GGUF file in it; None for one that was made in place.
        """
        alone = next(iter(parts.values()))
        form = TokenFormat(str(Path(place).absolute()) if place else "", alone.block_size, gguf_file=gguf_file)
        return cls(
            name=name,
            train=parts.get("train", alone),
            val=parts.get("val", alone),
            class_names=TokenNames(tokenizer),
            test=parts.get("test"),
            notes=(*notes, *_told(parts.get("train", alone))),
            task=LanguageModelling(),
            format=form,
            tokenizer=tokenizer,
        )

    @property
    def groups(self) -> Tensor:
        """The blocks of each document."""
        return self.val.groups

    @property
    def positions(self) -> tuple[int, ...]:
        """Of the longest block."""
        return (self.format.max_length,)

    @property
    def tokens(self) -> float:
        """How many a block has."""
        return len(self.train.ids) / len(self.train)

    @property
    def size_in_words(self) -> str:
        """Positions in a block."""
        packed = "packed" if self.train.packed else "one text each"
        return f"{'' if self.train.packed else 'up to '}{self.train.block_size} tokens, {packed}"


def _told(blocks: Blocks) -> Iterator[str]:
    """What share of the tokens is to be learned, and the first block, in which that is between marks."""
    if not len(blocks):
        return
    share = float((blocks.next_ids != IGNORED).double().mean())
    yield f"{share:.1%} of the tokens shown are followed by one that counts"
    text = blocks.marked(0)
    yield f"the first block, ⟦what counts⟧: {text if len(text) <= SHOWN else text[:SHOWN] + '...'}"
