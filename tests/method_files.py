"""The files of configs/method/, by the networks that their methods are for."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "configs" / "method"
OF_TOKENS = ("hidden_cosine", "minilm", "tinybert")  # for transformers alone; tests/methods/test_token_methods.py
FILES = [file for file in sorted(FOLDER.glob("*.yaml")) if file.stem not in OF_TOKENS]
