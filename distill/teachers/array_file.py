"""One array on disk, filled row by row."""

import contextlib
import errno
import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distill.teachers.record import Field

log = logging.getLogger(__name__)

WINDOW = 1 << 17  # the least that a system reads ahead by default; of more at once it may leave out the rest
NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # as exFAT and some network file systems answer
Numbers = npt.NDArray[np.int64]


class ArrayFile:
    """One .npy file, whose rows are written in any order. It comes into being at its full size, without using it where
    the file system has sparse files.

    Args:
        path: of the file.
        field: its dtype and the shape of a row.
        rows: how many.
    """

    def __init__(self, path: Path, field: Field, rows: int) -> None:
        self.path, self.field, self.rows = path, field, rows
        header = io.BytesIO()
        about: Any = {"descr": field.dtype, "fortran_order": False, "shape": (rows, *field.shape)}
        np.lib.format.write_array_header_1_0(header, about)
        self._header = header.getvalue()
        self._mapped: npt.NDArray[Any] | None = None

    def array(self) -> npt.NDArray[Any] | None:
        """What is on disk, to read from; None where there is nothing, or something else."""
        if self._mapped is None and self._is_whole():
            shape = (self.rows, *self.field.shape)
            self._mapped = np.memmap(self.path, self.field.dtype, "r", len(self._header), shape)
        return self._mapped

    def write(self, rows: Numbers, values: npt.NDArray[Any]) -> None:
        """Write some rows; OSError where the disk is full."""
        if self.array() is None:
            self._create()
        size = self.field.row_bytes
        data = memoryview(np.ascontiguousarray(values, self.field.dtype).tobytes())
        with self.path.open("r+b", buffering=0) as file:
            for i, row in enumerate(rows.tolist()):
                file.seek(len(self._header) + row * size)
                if file.write(data[i * size : (i + 1) * size]) != size:
                    raise OSError(errno.ENOSPC, "No space left on device", str(self.path))

    def take(self, rows: Numbers) -> npt.NDArray[Any]:
        """Some rows, 0 where there are none yet.

        Read as a file: where it is full, a map of a file in memory (tmpfs) ends the process at a page not yet written.
        """
        taken = np.zeros((len(rows), *self.field.shape), self.field.dtype)
        if self.array() is None:
            return taken
        size, data = self.field.row_bytes, bytearray()
        with self.path.open("rb", buffering=0) as file:
            if len(rows) > self.rows // 2:
                return np.fromfile(file, self.field.dtype, offset=len(self._header)).reshape(-1, *self.field.shape)[
                    rows
                ]
            for row in rows.tolist():
                file.seek(len(self._header) + row * size)
                data += file.read(size)
        taken[:] = np.frombuffer(data, self.field.dtype).reshape(taken.shape)
        return taken

    def read_ahead(self) -> None:
        """Have the system read the file into its memory, where it takes such advice."""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            for start in range(0, os.fstat(file.fileno()).st_size, WINDOW):
                os.posix_fadvise(file.fileno(), start, WINDOW, os.POSIX_FADV_WILLNEED)

    def _is_whole(self) -> bool:
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file:
                same = file.read(len(self._header)) == self._header
        except FileNotFoundError:
            return False
        if same and size == len(self._header) + self.rows * self.field.row_bytes:
            return True
        log.warning("%s is damaged (%d bytes) and is filled anew", self.path, size)
        self.path.unlink(missing_ok=True)
        return False

    def _create(self) -> None:
        """Make the file, unless another process was quicker."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(self._header)
                file.truncate(len(self._header) + self.rows * self.field.row_bytes)
            try:
                os.link(temporary, self.path)
            except FileExistsError:
                pass
            except OSError as error:
                if error.errno not in NO_HARD_LINKS:
                    raise
                if not self.path.exists():  # else rows that another has written between the two are asked for again
                    temporary.rename(self.path)
        finally:
            temporary.unlink(missing_ok=True)
        self.array()
