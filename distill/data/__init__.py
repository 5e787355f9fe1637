"""Data sets to batches: deterministic order, deterministic augmentation."""

from distill.data.augment import Augment
from distill.data.module import DataModule, student_samples
from distill.data.source import ImageSource, Source
from distill.data.split import Split
from distill.data.stream import Stream

ImageDataModule = DataModule
"""What it was called while images were all that there was."""

__all__ = ["Augment", "DataModule", "ImageDataModule", "ImageSource", "Source", "Split", "Stream", "student_samples"]
