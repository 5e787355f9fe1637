"""`python -m distill`: the same as `python train.py`."""

from distill.cli import train

if __name__ == "__main__":
    train()
