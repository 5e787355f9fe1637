"""Data sets to batches: deterministic order, deterministic augmentation."""

from distill.data.module import ImageDataModule
from distill.data.source import ImageSource, Split

__all__ = ["ImageDataModule", "ImageSource", "Split"]
