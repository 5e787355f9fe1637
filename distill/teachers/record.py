"""Converts a teacher's outputs to the arrays that a cache keeps of each sample, and back."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.devices import to_device
from distill.errors import SettingError
from distill.losses import Projection, linear_top_k
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
    hidden: how wide hidden states are, of a language model, which are kept in place of all its logits: these are many
        more numbers, and its output layer makes them again.
    longest: tokens of the longest sample; None where samples are no token sequences. Answers are as wide as their
        batch, and are kept as wide as this.
    """

    classes: int
    dtype: DType = "float32"
    top_k: int | None = None
    temperatures: tuple[float, ...] = ()
    features: tuple[tuple[str, tuple[int, ...]], ...] = ()
    pooled: bool = False
    positions: tuple[int, ...] = ()
    hidden: int | None = None
    longest: int | None = None

    def in_words(self) -> str:
        """What is kept: 'top-50 of 100 classes in float16, and layer3 averaged over positions'."""
        everything = "all logits" if self.hidden is None else "hidden states for all logits"
        kept = everything if self.top_k is None else f"top-{self.top_k}"
        also = f", and {', '.join(name for name, _ in self.features)}" if self.features else ""
        also += " averaged over positions" if also and self.pooled else ""
        return f"{kept} of {self.classes} classes in {self.dtype}{also}"

    def of_logits(self, outputs: Outputs) -> "Layout":
        """With as many logits, at as many positions, as an answer has.

        Raises:
            SettingError: it has none.
        """
        _, classes, *positions = outputs.logits.shape
        if not classes:
            raise SettingError(
                "teaching=cached: the teacher has no logits at fixed positions to keep, as a two-stage detector has "
                "none; use teaching=live, or a single-stage detector"
            )
        return replace(self, classes=classes, positions=tuple(positions))

    @property
    def fields(self) -> tuple[Field, ...]:
        """The arrays."""
        kept = _KEPT[self.dtype][0]
        if self.top_k is None and self.hidden is not None:
            fields = [Field("hidden", kept, (*self.positions, self.hidden))]
        elif self.top_k is None:
            fields = [Field("logits", kept, (self.classes, *self.positions))]
        else:
            fields = [
                Field("values", kept, (self.top_k, *self.positions)),
                Field("indices", "|u1", (self.top_k, *self.positions, self._index_bytes)),
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

    @property
    def _index_bytes(self) -> int:
        """That the number of a class takes: 1 of 256 classes, 2 of 49,152, 3 of 151,936."""
        return max(1, (self.classes - 1).bit_length() + 7 >> 3)

    def encode(self, outputs: Outputs, valid: Tensor | None = None) -> dict[str, npt.NDArray[Any]]:
        """Answers of a network, as they are kept.

        valid: (N, T) bool, which positions of a language model count; at the others zeros are kept. None: all.

        Raises:
            SettingError: a value is too large for the dtype.
        """
        if self.hidden is not None:
            rows = self._encode_positions(outputs, valid)
        elif self.top_k is None:
            rows = {"logits": self._to_array(outputs.logits)}
        else:
            rows = self._encode_top(TopK.from_logits(outputs.logits, self.top_k, self.temperatures))
        features = self.pooled_outputs(outputs).features
        kept = {name: self._fitted(features[name], shape, self.longest) for name, shape in self.features}
        return rows | {f"feature.{name}": self._to_array(feature) for name, feature in kept.items()}

    def _encode_positions(self, outputs: Outputs, valid: Tensor | None) -> dict[str, npt.NDArray[Any]]:
        """Of a language model: hidden states, or the likeliest tokens, of the positions that count."""
        assert outputs.projection is not None
        states = outputs.projection.hidden
        counts = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device) if valid is None else valid
        if self.top_k is None:
            states = states.masked_fill(~counts.unsqueeze(-1), 0)
            return {"hidden": self._to_array(self._fitted(states, (*self.positions, 0), self.longest))}
        counting = replace(outputs.projection, hidden=states[counts])
        top = linear_top_k(counting, self.top_k, self.temperatures)

        def placed(part: Tensor) -> Tensor:
            whole = part.new_zeros(*counts.shape, part.shape[1])
            whole[counts] = part
            return self._fitted(whole, (*self.positions, 0), self.longest).movedim(-1, 1)

        return self._encode_top(top.map(placed))

    def _encode_top(self, top: TopK) -> dict[str, npt.NDArray[Any]]:
        numbers = np.ascontiguousarray(top.indices.cpu().numpy(), "<u4")
        return {
            "values": self._to_array(top.values),
            "indices": numbers[..., None].view("|u1")[..., : self._index_bytes],
            "log_tails": top.log_tails.float().cpu().numpy(),
        }

    def decode(
        self, rows: Rows, device: torch.device, head: Projection | None = None, width: int | None = None
    ) -> Outputs:
        """What a method sees: float32 on the device.

        head: of a language model, any answer of it, for its output layer.
        width: tokens of the longest sample of the batch, padding included; None: all that is kept.
        """
        features = {
            name: self._fitted(self._to_tensor(rows[f"feature.{name}"], device), shape, width)
            for name, shape in self.features
        }
        if self.top_k is not None:
            top = self._decode_top(rows, device)
            if self.hidden is not None and width is not None:
                top = top.map(lambda part: _as_wide(part.movedim(1, -1), width).movedim(-1, 1))
            return Outputs(torch.empty(len(top.values), 0, *top.values.shape[2:], device=device), features, top)
        if self.hidden is None:
            return Outputs(self._to_tensor(rows["logits"], device), features)
        assert head is not None
        hidden = self._fitted(self._to_tensor(rows["hidden"], device), (*self.positions, 0), width)
        return Outputs(hidden.new_empty(len(hidden), 0), features, projection=replace(head, hidden=hidden))

    def _decode_top(self, rows: Rows, device: torch.device) -> TopK:
        numbers = np.zeros((*rows["indices"].shape[:-1], 4), "|u1")
        numbers[..., : self._index_bytes] = rows["indices"]
        indices = to_device(torch.from_numpy(numbers.view("<i4")[..., 0]), device)
        tails = to_device(torch.from_numpy(rows["log_tails"]), device)
        return TopK(self._to_tensor(rows["values"], device), indices, tails, self.temperatures)

    def _fitted(self, values: Tensor, shape: tuple[int, ...], width: int | None) -> Tensor:
        """(N, T, D) values of tokens as wide as they are to be; all else, and without a width, as it is."""
        return values if self.longest is None or width is None or len(shape) != 2 else _as_wide(values, width)

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


def _as_wide(values: Tensor, width: int) -> Tensor:
    """(N, T, D) values of T tokens, of so many: the end cut off, or zeros behind it."""
    return F.pad(values, (0, 0, 0, width - values.shape[1]))


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
