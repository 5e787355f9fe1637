"""`python scripts/generate.py path=DIR input=FILE output=FILE.jsonl`: a language model writes completions, once."""

from distill.cli import generate

if __name__ == "__main__":
    generate()
