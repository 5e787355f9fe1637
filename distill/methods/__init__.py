"""What to imitate: one file a method."""

from distill.methods.base import Composite, Example, Method, Taps
from distill.methods.kd import KD
from distill.methods.supervised import Supervised

__all__ = ["KD", "Composite", "Example", "Method", "Supervised", "Taps"]
