"""Memory-mapped arrays on their way to worker processes: named by their file, which each process maps for itself.

Workers that are spawned (macOS, Windows, Linux from Python 3.14) get their data set pickled, and numpy pickles a memory
map with all that its file holds, however large.
"""

import mmap
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def reduce_mapped(array: Array) -> tuple[Any, ...]:
    """How to pickle an array: a memory map as its file, the place in it, dtype, shape and strides; others whole.

    A copy-on-write map (mode "c") goes whole, since what was written to it is in no file.
    """
    if not isinstance(array, np.memmap) or array.filename is None or array.mode == "c" or not array.size:
        return array.__reduce_ex__(5)  # type: ignore[return-value]
    steps = [(count - 1) * stride for count, stride in zip(array.shape, array.strides, strict=True)]
    first = -sum(step for step in steps if step < 0)
    size = first + sum(step for step in steps if step > 0) + array.itemsize
    whole = np.frombuffer(array._mmap, np.uint8)  # type: ignore[attr-defined]
    begin = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY  # in the file, of the whole
    offset = begin + array.ctypes.data - whole.ctypes.data - first
    mode = "r" if array.mode == "r" else "r+"
    return map_again, (array.filename, mode, offset, size, first, array.dtype, array.shape, array.strides)


def map_again(
    file: str,
    mode: Any,
    offset: int,
    size: int,
    first: int,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> Array:
    """The array that `reduce_mapped` was given.

    Args:
        file: whose bytes [offset, offset + size) are mapped, in a mode of numpy.memmap.
        first: the byte among them where the array's first number begins.
        dtype, shape, strides: of the array.
    """
    content = np.memmap(file, np.uint8, mode, offset, (size,))
    start = content[first : first + dtype.itemsize].view(dtype)
    return np.lib.stride_tricks.as_strided(start, shape, strides, subok=True)


@dataclass(frozen=True)
class Pickled:
    """Unpickles as its array, which went as `reduce_mapped` says, whatever pickles it."""

    array: Array

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_mapped(self.array)


# For whatever a process sends to another; pickles that are kept hold their numbers, as everywhere else.
ForkingPickler.register(np.memmap, reduce_mapped)
