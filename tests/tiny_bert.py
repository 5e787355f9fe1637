"""A BERT that is small enough to train in a test, with a tokenizer of words made in place: no file, no network."""

from pathlib import Path
from typing import Any

import torch

WORDS = ("good", "bad", "very", "film", "plot", "the", "a", "was", "and", "of", "long", "short", ".", "!")


def tokenizer() -> Any:
    """One token a word, as BERT has them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    vocabulary = {word: number for number, word in enumerate((*special, *WORDS))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast: Any = PreTrainedTokenizerFast
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return fast(tokenizer_object=made, model_input_names=inputs, **names)


def config(**changed: Any) -> Any:
    """Three layers of width 16."""
    from transformers import BertConfig

    settings = {
        "vocab_size": 4 + len(WORDS), "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 40, "initializer_range": 0.2,
    }  # fmt: skip
    return BertConfig(**{**settings, **changed})


def save_encoder(directory: Path) -> Path:
    """A bare encoder and its tokenizer, as `save_pretrained` writes them."""
    from transformers import BertModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config()).save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    return directory


def save_classifier(directory: Path, **changed: Any) -> Path:
    """The same with a head, for two classes unless told otherwise."""
    from transformers import BertForSequenceClassification

    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForSequenceClassification(config(**changed)).save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    return directory


def reviews(count: int, seed: int) -> list[tuple[str, str]]:
    """Texts of 3 to 20 words with their labels: praise, or blame."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for number in range(count):
        label = number % 2
        length = int(torch.randint(2, 20, (1,), generator=generator))
        filler = [WORDS[2 + int(i)] for i in torch.randint(len(WORDS) - 2, (length,), generator=generator)]
        place = int(torch.randint(length, (1,), generator=generator))
        rows.append((" ".join([*filler[:place], ("bad", "good")[label], *filler[place:]]), ("blame", "praise")[label]))
    return rows


def write_reviews(file: Path, count: int, seed: int) -> Path:
    """Such texts as a TSV file."""
    lines = ["text\tlabel", *(f"{text}\t{label}" for text, label in reviews(count, seed))]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
