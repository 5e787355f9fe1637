"""Archives of arrays from anywhere: what their headers claim is checked before memory is taken for it."""

import math
import os
import zipfile
from pathlib import Path

from numpy.lib import format as npy


def check_claims(file: Path) -> None:
    """Look at the headers of a .npz file.

    Raises:
        ValueError: an array claims another size than its part of the archive has, or all together more than the machine
            has memory.
        zipfile.BadZipFile, OSError: it is no archive, or cannot be read.
    """
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        unpacked, memory = sum(part.file_size for part in parts), _memory()
        if unpacked > memory:
            raise ValueError(f"it unpacks to {unpacked / 1e9:.1f} GB, and this machine has {memory / 1e9:.1f} GB")
        for part in parts:
            with archive.open(part) as opened:
                version = npy.read_magic(opened)
                read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
                if read is None:
                    raise ValueError(f"{part.filename} is of version {version} of the format")
                shape, _, kind = read(opened)
                claimed = math.prod(shape) * kind.itemsize
                if not kind.hasobject and claimed != part.file_size - opened.tell():
                    raise ValueError(f"{part.filename} claims {claimed} bytes and has {part.file_size - opened.tell()}")


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
