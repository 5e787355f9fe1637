"""Converts a teacher's outputs to the arrays that a cache keeps of each sample, and back."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distill.devices import to_device
from distill.errors import SettingError
from distill.losses.logits import precise
from distill.losses.top_k import TopK
from distill.types import FeatureLayout, Outputs

DType = Literal["float32", "float16", "bfloat16"]
Rows = Mapping[str, npt.NDArray[Any]]
"""Answers by field, (n, *shape) each."""

_KEPT = {"float32": ("<f4", torch.float32), "float16": ("<f2", torch.float16), "bfloat16": ("<u2", torch.bfloat16)}


@dataclass(frozen=True, slots=True)
class Field:
    """One array: its numpy dtype and the shape of a row. bfloat16 is kept as the 16 bits that it is."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Layout:
    """How an answer is kept.

    classes: how many logits a sample has.
    dtype: of logits and features.
    top_k: None for all logits.
    temperatures: where the mass of the others is known, with `top_k`.
    features: shape of a sample's feature, by tap name.
    pooled: whether features are means over their positions.
    positions: of a sample's answer, which has logits for each of them; () for one answer.
    """

    classes: int
    dtype: DType = "float32"
    top_k: int | None = None
    temperatures: tuple[float, ...] = ()
    features: tuple[tuple[str, tuple[int, ...]], ...] = ()
    pooled: bool = False
    positions: tuple[int, ...] = ()

    @property
    def fields(self) -> tuple[Field, ...]:
        """The arrays."""
        kept = _KEPT[self.dtype][0]
        if self.top_k is None:
            fields = [Field("logits", kept, (self.classes, *self.positions))]
        else:
            fields = [
                Field("values", kept, (self.top_k, *self.positions)),
                Field("indices", "<i4", (self.top_k, *self.positions)),
                Field("log_tails", "<f4", (len(self.temperatures), *self.positions)),
            ]
        return (*fields, *(Field(f"feature.{name}", kept, shape) for name, shape in self.features))

    @property
    def row_bytes(self) -> int:
        """Bytes that a sample takes, its checksum included."""
        return sum(field.row_bytes for field in self.fields) + 4

    def pooled_outputs(self, outputs: Outputs) -> Outputs:
        """What a method is shown of a network's answers: features averaged where they are pooled, all else as it is."""
        if not self.pooled:
            return outputs
        return replace(outputs, features={n: averaged(f, outputs.layouts.get(n)) for n, f in outputs.features.items()})

    def encode(self, outputs: Outputs) -> dict[str, npt.NDArray[Any]]:
        """Answers of a network, as they are kept.

        Raises:
            SettingError: a value is too large for the dtype.
        """
        if self.top_k is None:
            rows = {"logits": self._to_array(outputs.logits)}
        else:
            top = TopK.from_logits(outputs.logits, self.top_k, self.temperatures)
            rows = {
                "values": self._to_array(top.values),
                "indices": top.indices.cpu().numpy(),
                "log_tails": top.log_tails.float().cpu().numpy(),
            }
        features = self.pooled_outputs(outputs).features
        return rows | {f"feature.{name}": self._to_array(features[name]) for name, _ in self.features}

    def decode(self, rows: Rows, device: torch.device) -> Outputs:
        """What a method sees: float32 on the device."""
        features = {name: self._to_tensor(rows[f"feature.{name}"], device) for name, _ in self.features}
        if self.top_k is None:
            return Outputs(self._to_tensor(rows["logits"], device), features)
        indices, tails = (to_device(torch.from_numpy(rows[name]), device) for name in ("indices", "log_tails"))
        top = TopK(self._to_tensor(rows["values"], device), indices, tails, self.temperatures)
        return Outputs(torch.empty(len(indices), 0, *self.positions, device=device), features, top)

    def _to_array(self, values: Tensor) -> npt.NDArray[Any]:
        kept = values.detach().to(_KEPT[self.dtype][1])
        too_large = values[kept.isinf() & values.isfinite()]
        if len(too_large):
            raise SettingError(
                f"teaching.dtype={self.dtype}: cannot hold {too_large.abs().max():g}, which the teacher answered; "
                "use bfloat16 or float32"
            )
        plain = kept.view(torch.int16) if kept.dtype == torch.bfloat16 else kept
        array: npt.NDArray[Any] = plain.cpu().numpy()
        return array.view(np.uint16) if kept.dtype == torch.bfloat16 else array

    def _to_tensor(self, array: npt.NDArray[Any], device: torch.device) -> Tensor:
        if self.dtype == "bfloat16":
            return to_device(torch.from_numpy(array.view(np.int16)).view(torch.bfloat16), device).float()
        return to_device(torch.from_numpy(array), device).float()


def averaged(feature: Tensor, layout: FeatureLayout | None = None) -> Tensor:
    """Maps (N, C, *positions) to (N, C) and tokens (N, T, D) to (N, D), at least float32; vectors as they are."""
    if feature.ndim < 3:
        return feature
    if feature.ndim == 3 or (layout is not None and layout.kind == "channels-last map"):
        return precise(feature).flatten(1, -2).mean(1)
    return precise(feature).flatten(2).mean(2)


def checksums(rows: Rows) -> npt.NDArray[np.uint32]:
    """(n,) CRC-32 of each row over its fields in order; never 0, which stands for a row that isn't there."""
    sums: list[int] = []
    for array in rows.values():
        size = array.nbytes // max(1, len(array))
        data = memoryview(np.ascontiguousarray(array).tobytes())
        before = sums or [0] * len(array)
        sums = [zlib.crc32(data[i * size : (i + 1) * size], before[i]) for i in range(len(array))]
    return np.array([value or 1 for value in sums], dtype=np.uint32)


def in_bytes(count: float) -> str:
    """'19.3 MB'."""
    if count < 1000:
        return f"{count:.0f} B"
    unit = next((unit for unit in ("kB", "MB") if (count := count / 1000) < 1000), None)
    return f"{count:.1f} {unit}" if unit else f"{count / 1000:.1f} GB"
