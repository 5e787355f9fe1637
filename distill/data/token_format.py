"""What the tokens of a data set are."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class TokenFormat:
    """Token sequences.

    tokenizer: directory of what made them; relative to the run's, where the run keeps it.
    max_length: tokens that a sample has at most.
    gguf_file: the file in it that holds the tokenizer, where it is of this kind.
    columns: what a network is given, by name, beside attention_mask.
    """

    tokenizer: str
    max_length: int
    columns: tuple[str, ...] = ("input_ids",)
    gguf_file: str | None = None
    kind: ClassVar[str] = "tokens"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))  # JSON knows lists alone
