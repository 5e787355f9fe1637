"""`python train.py`: distil a student. `python train.py --help` explains."""

from distill.cli import train

if __name__ == "__main__":
    train()
