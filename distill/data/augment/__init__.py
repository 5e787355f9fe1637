"""Augmentation of a whole batch at once, on whatever device it lies.

Every operation takes the images and numbers drawn for each of them, and treats each image by itself: an image comes
out the same, bit for bit, alone or in any batch. Sums are therefore exact, and no library call is used whose result
depends on the size of the batch (matrix products, convolutions).
"""

from distill.data.augment.augment import Augment

__all__ = ["Augment"]
