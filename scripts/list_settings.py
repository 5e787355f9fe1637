"""`python scripts/list_settings.py`: write docs/configuration.md, the reference of all settings."""

from pathlib import Path

from distill.config.reference import reference

ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    (ROOT / "docs" / "configuration.md").write_text(reference(ROOT / "configs"))
