"""`python scripts/evaluate.py run=DIR`: score a finished run again, or on other data."""

from distill.cli import evaluate

if __name__ == "__main__":
    evaluate()
