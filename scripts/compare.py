"""`python scripts/compare.py DIR DIR ...`: several runs side by side, mean and spread over seeds."""

from distill.cli import compare

if __name__ == "__main__":
    compare()
