"""Data sets to batches: deterministic order, deterministic augmentation."""

from distill.data.augment import Augment
from distill.data.module import ImageDataModule, student_samples
from distill.data.source import ImageSource, Split
from distill.data.stream import Stream

__all__ = ["Augment", "ImageDataModule", "ImageSource", "Split", "Stream", "student_samples"]
