"""`python scripts/list_methods.py`: write docs/methods.md, the table of all methods."""

from pathlib import Path

from distill.config.method_table import methods_table

ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    (ROOT / "docs" / "methods.md").write_text(methods_table(ROOT / "configs" / "method"))
