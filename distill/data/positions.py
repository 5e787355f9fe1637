"""How many tokens a model of `transformers` can be shown at once."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def positions_of(settings: Mapping[str, Any]) -> int | None:
    """By a model's configuration; None where that sets no limit."""
    known = settings.get("max_position_embeddings")
    if known and "roberta" in str(settings.get("model_type")):
        known -= (settings.get("pad_token_id") or 0) + 1  # behind which it begins to count
    return int(known) if known else None


def positions_in(directory: Path) -> int | None:
    """Of the model in a directory; None where there is none, or it sets no limit."""
    try:
        return positions_of(json.loads((directory / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
