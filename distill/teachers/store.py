"""Answers on disk: memory-mapped .npy shards and one JSON manifest.

    DIR/KEY/manifest.json                        what was asked of whom, and how it is kept
    DIR/KEY/train/epoch0003/000.logits.npy       (rows, classes): the first shard of one epoch's answers
    DIR/KEY/train/epoch0003/000.checksums.npy    (rows,) uint32: CRC-32 of each row, 0 where there is none yet

A row is written before its checksum, and counts only where the two agree. Nothing else is needed for what goes wrong: a
run that is killed or a full disk leaves rows missing, a damaged row is a missing one, and processes that fill the same
cache at once write the same rows.
"""

import json
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distill.files import write_text
from distill.teachers.array_file import ArrayFile, Numbers
from distill.teachers.record import Field, Rows, checksums

log = logging.getLogger(__name__)

SHARD_BYTES = 1 << 28
CHECKSUMS = Field("checksums", "<u4", ())


class AnswerTable:
    """The answers to one split in one epoch.

    Args:
        directory: of its files.
        fields: the arrays.
        rows: samples in the split.
    """

    def __init__(self, directory: Path, fields: Sequence[Field], rows: int) -> None:
        self.directory, self.rows = directory, rows
        self.shard_rows = max(1, SHARD_BYTES // max(1, *(field.row_bytes for field in fields)))
        self.files = [
            {
                field.name: ArrayFile(directory / f"{n:03d}.{field.name}.npy", field, size)
                for field in (*fields, CHECKSUMS)
            }
            for n, size in enumerate(self._sizes())
        ]
        self._names = [field.name for field in fields]
        self._trusted = np.zeros(rows, dtype=bool)
        self._warned = False
        self._reader: threading.Thread | None = None

    def read(self, rows: Numbers) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.bool_]]:
        """Some rows, by field, and which of them are there; the others hold anything."""
        if len(self.files) == 1:
            return self._read_shard(0, rows)
        found: dict[str, npt.NDArray[Any]] = {}
        there = np.zeros(len(rows), dtype=bool)
        for shard, places in self._by_shard(rows):
            part, there[places] = self._read_shard(shard, rows[places] - shard * self.shard_rows)
            for name, values in part.items():
                found.setdefault(name, np.zeros((len(rows), *values.shape[1:]), values.dtype))[places] = values
        return found, there

    def write(self, rows: Numbers, answers: Rows) -> None:
        """Write some rows, and only then that they are there; OSError where that is impossible."""
        sums = checksums(answers)
        for shard, places in self._by_shard(rows):
            files, local = self.files[shard], rows[places] - shard * self.shard_rows
            for name, values in answers.items():
                files[name].write(local, values[places])
            files["checksums"].write(local, sums[places])

    def written(self) -> npt.NDArray[np.bool_]:
        """Which rows there are, going by whether they have a checksum."""
        sums = [files["checksums"] for files in self.files]
        return np.concatenate([file.take(np.arange(file.rows)) != 0 for file in sums])

    def damaged(self) -> Numbers:
        """The rows that aren't what their checksums say. Reads everything."""
        rows = self.written().nonzero()[0]
        self._trusted[:] = False
        self._warned = True
        bad = [chunk[~self.read(chunk)[1]] for chunk in np.array_split(rows, max(1, len(rows) // 4096))]
        return np.concatenate(bad)

    def forget(self, rows: Numbers) -> None:
        """Have some rows be missing."""
        for shard, places in self._by_shard(rows):
            sums = self.files[shard]["checksums"]
            sums.write(rows[places] - shard * self.shard_rows, np.zeros(len(places), np.uint32))

    def read_ahead(self) -> None:
        """Have the system read all of it, once, while something else is done."""
        if self._reader is None and hasattr(os, "posix_fadvise"):
            self._reader = threading.Thread(target=self._read_ahead, name=f"reads {self.directory}", daemon=True)
            self._reader.start()

    def _read_ahead(self) -> None:
        for files in self.files:
            for file in files.values():
                file.read_ahead()

    def _sizes(self) -> list[int]:
        """Rows in each shard."""
        return [min(self.shard_rows, self.rows - start) for start in range(0, self.rows, self.shard_rows)]

    def _by_shard(self, rows: Numbers) -> Iterator[tuple[int, Numbers]]:
        """Shards, and which of the rows lie in each."""
        shards = rows // self.shard_rows
        for shard in np.unique(shards).tolist():
            yield shard, (shards == shard).nonzero()[0]

    def _read_shard(self, shard: int, rows: Numbers) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.bool_]]:
        files = [self.files[shard][name] for name in self._names]
        arrays = [file.array() for file in files]
        trusted = self._trusted[shard * self.shard_rows :]
        there = trusted[rows]
        if there.all() and all(array is not None for array in arrays):
            # Copies, past numpy's subclass of memory maps, which is slow at small things.
            return {name: np.asarray(a)[rows] for name, a in zip(self._names, arrays, strict=True)}, there
        known = self.files[shard]["checksums"].take(rows)
        found = {file.field.name: np.zeros((len(rows), *file.field.shape), file.field.dtype) for file in files}
        if any(array is None for array in arrays):
            return found, np.zeros(len(rows), dtype=bool)
        for name, array in zip(self._names, arrays, strict=True):
            found[name][known != 0] = np.asarray(array)[rows[known != 0]]
        there = (known != 0) & (known == checksums(found))
        trusted[rows[there]] = True
        if not self._warned and (damaged := int(((known != 0) & ~there).sum())):
            self._warned = True
            log.warning("%s: %d answers or more are damaged and are asked for again", self.directory, damaged)
        return found, there


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a cache holds, as its manifest.json says.

    key: the name of its directory, from all that follows but `rows`.
    asked: what was asked of whom: whatever decides an answer.
    fields: the arrays of each split.
    rows: samples in each split.
    """

    key: str
    asked: dict[str, Any]
    fields: Mapping[str, tuple[Field, ...]]
    rows: Mapping[str, int]


class Store:
    """One cache.

    Args:
        root: directory of all caches.
        manifest: what this one holds.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root, self.manifest = root, manifest
        self.directory = root / manifest.key

    @classmethod
    def read(cls, directory: Path) -> "Store":
        """The cache that lies in a directory; OSError, ValueError, KeyError, TypeError or AttributeError where none
        does."""
        content = json.loads((directory / "manifest.json").read_text())
        if content["key"] != directory.name:  # which may lead out of the directory of all caches
            raise ValueError("is of another directory")
        fields = {split: tuple(map(_field, listed)) for split, listed in content["fields"].items()}
        rows = {split: int(count) for split, count in content["rows"].items()}
        return cls(directory.parent, Manifest(content["key"], content["asked"], fields, rows))

    def open(self) -> None:
        """Make the cache, or note that it is used; OSError where that is impossible."""
        file = self.directory / "manifest.json"
        if file.is_file():
            os.utime(file)
        else:
            write_text(file, json.dumps(asdict(self.manifest), indent=1) + "\n")

    def table(self, split: str, epoch: int) -> AnswerTable:
        """The answers to one split in one epoch."""
        directory = self.directory / split / f"epoch{epoch:04d}"
        return AnswerTable(directory, self.manifest.fields[split], self.manifest.rows[split])

    def tables(self) -> list[AnswerTable]:
        """Those on disk."""
        found = [(place.parent.name, int(place.name[5:])) for place in sorted(self.directory.glob("*/epoch????"))]
        return [self.table(split, epoch) for split, epoch in found if split in self.manifest.fields]

    @property
    def bytes_on_disk(self) -> int:
        """What its files take, holes not counted."""
        return sum(file.stat().st_blocks * 512 for file in self.directory.rglob("*") if file.is_file())

    @property
    def last_used(self) -> float:
        """When a run last opened it, in seconds since 1970."""
        return (self.directory / "manifest.json").stat().st_mtime

    def remove(self) -> None:
        """Delete it: first the manifest, so that what is left of it if that fails is no cache."""
        (self.directory / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(self.directory)


def _field(content: Mapping[str, Any]) -> Field:
    """What a manifest says of an array, if it may be one."""
    if np.dtype(content["dtype"]).kind not in "biuf":  # objects would be addresses in memory
        raise ValueError("holds no numbers")
    return Field(str(content["name"]), content["dtype"], tuple(map(int, content["shape"])))


def stores(root: Path) -> list[Store]:
    """All caches below a directory, the one last used first."""
    found = []
    for file in root.glob("*/manifest.json"):
        try:
            found.append(Store.read(file.parent))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            log.warning("%s is damaged; its cache is left alone", file)
    return sorted(found, key=lambda store: -store.last_used)
