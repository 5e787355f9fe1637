"""A sparse teacher: its top k classes and the probability mass of all others, in place of 128,000 probabilities.

The rest counts as one more class on both sides, so what is measured is a true divergence of two distributions over
k + 1 classes: never negative, 0 where the student agrees on them, never more than the dense one, and equal to it at
k = C. (Keeping a teacher's top k: TinyViT, arXiv:2207.10666.)
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill.losses.arguments import check_logits, check_temperature
from distill.losses.engine import row_chunks, working_dtype
from distill.losses.formulas import MASKED

STORAGE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True)
class SparseTeacher:
    """Log-probabilities of a teacher's k likeliest classes at one temperature.

    values: (*positions, k) log-probabilities, any float dtype; float16 keeps a probability to 1 % down to e^-20.
    indices: (*positions, k) int32 class indices, each at most once in a row.
    log_tail: (*positions) log of the mass of all other classes; -inf where k is all of them.
    temperature: what the logits were divided by. It is fixed: at another temperature the kept classes could be rescaled
        among themselves, but the mass of the tail cannot be known without the logits that it came from.
    """

    values: Tensor
    indices: Tensor
    log_tail: Tensor
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_logits("values", self.values)
        check_logits("log_tail", self.log_tail)
        if self.indices.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"indices has dtype {self.indices.dtype}; expected torch.int32")
        if self.values.shape != self.indices.shape or self.values.shape[:-1] != self.log_tail.shape:
            raise ValueError(
                f"values {tuple(self.values.shape)}, indices {tuple(self.indices.shape)} and log_tail "
                f"{tuple(self.log_tail.shape)} do not fit; expected (*positions, k) twice, then (*positions)"
            )
        check_temperature(self.temperature, validate=True)

    @classmethod
    def from_logits(
        cls,
        logits: Tensor,
        k: int,
        *,
        temperature: float = 1.0,
        dtype: torch.dtype = torch.float32,
        class_dim: int = 1,
    ) -> "SparseTeacher":
        """The k largest of logits, (N, C) or classes at class_dim, stored as dtype. 1 <= k <= C."""
        check_logits("logits", logits)
        if not 1 <= k <= logits.shape[class_dim]:
            raise ValueError(f"k={k} must be from 1 to the number of classes, {logits.shape[class_dim]}")
        if dtype not in STORAGE:
            raise TypeError(f"dtype={dtype} cannot hold log-probabilities; expected one of {STORAGE}")
        rows = logits.detach().movedim(class_dim, -1)
        indices = rows.topk(k, dim=-1).indices
        buckets = _log_buckets(rows, indices, float(temperature))
        return cls(buckets[..., :-1].to(dtype), indices.to(torch.int32), buckets[..., -1].to(dtype), float(temperature))

    def log_probabilities(self, dtype: torch.dtype) -> Tensor:
        """(*positions, k + 1), the tail last; normalised again, because storage in few bits rounds each on its own."""
        both = torch.cat((self.values, self.log_tail.unsqueeze(-1)), -1).to(dtype)
        return both.log_softmax(-1).clamp_min(MASKED)

    def to(self, device: torch.device | str) -> "SparseTeacher":
        """The same on another device."""
        values, indices, log_tail = (x.to(device) for x in (self.values, self.indices, self.log_tail))
        return SparseTeacher(values, indices, log_tail, self.temperature)

    def __getitem__(self, index: slice | Tensor) -> "SparseTeacher":
        """Some of the samples."""
        return SparseTeacher(self.values[index], self.indices[index], self.log_tail[index], self.temperature)


def log_buckets(student_logits: Tensor, teacher: SparseTeacher, class_dim: int, drop: Tensor | None = None) -> Tensor:
    """The student's log-probabilities of the teacher's classes and, last, of all others: (*positions, k + 1).

    drop: bool, as many as there are positions: logits there may hold anything.
    """
    rows = student_logits.movedim(class_dim, -1)
    if rows.shape[:-1] != teacher.log_tail.shape or teacher.values.shape[-1] > rows.shape[-1]:
        raise ValueError(
            f"student_logits has positions {tuple(rows.shape[:-1])} and {rows.shape[-1]} classes at class_dim="
            f"{class_dim}; the sparse teacher has positions {tuple(teacher.log_tail.shape)} and "
            f"k={teacher.values.shape[-1]}"
        )
    indices = teacher.indices.to(rows.device)
    positions, k = indices.shape[:-1], indices.shape[-1]
    n = positions.numel()
    drop = None if drop is None else drop.reshape(n, 1)
    flat = rows.reshape(n, rows.shape[-1]), indices.reshape(n, k), teacher.temperature, drop
    out = _log_buckets(*flat) if torch.compiler.is_compiling() else _LogBuckets.apply(*flat)
    return out.view(*positions, k + 1)


class _LogBuckets(torch.autograd.Function):
    """log_buckets in chunks: keeps the (rows, k + 1) result and makes the gradient from it, exactly, in backward."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, indices: Tensor, temperature: float, drop: Tensor | None) -> Tensor:
        ctx.temperature = temperature
        out = logits.new_empty((len(indices), indices.shape[-1] + 1), dtype=working_dtype(logits))
        for index in row_chunks(logits.shape, logits.device):
            out[index] = _log_buckets(logits[index], indices[index], temperature, None if drop is None else drop[index])
        ctx.save_for_backward(logits, indices, out, drop)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, indices, out, drop = ctx.saved_tensors
        if torch.is_grad_enabled():
            again = _log_buckets(logits, indices, ctx.temperature, drop)
            return torch.autograd.grad(again, logits, grad, create_graph=True)[0], None, None, None
        made = torch.empty_like(logits)
        for index in row_chunks(logits.shape, logits.device):
            g, buckets, left_out = grad[index], out[index], None if drop is None else drop[index]
            q = _scaled(logits[index], ctx.temperature, left_out).softmax(-1)
            total = g.sum(-1, keepdim=True)
            share = (g[:, -1:] * (-buckets[:, -1:]).exp()).masked_fill(buckets[:, -1:] <= MASKED, 0)
            q *= share - total
            kept = g[:, :-1] - total * buckets[:, :-1].exp()
            made[index] = q.scatter_(-1, indices[index].long(), kept).div_(ctx.temperature)
        return made, None, None, None


def _scaled(logits: Tensor, temperature: float, drop: Tensor | None) -> Tensor:
    if drop is not None:
        logits = logits.masked_fill(drop, 0)
    logits = logits.to(working_dtype(logits)).clamp_min(MASKED)
    return (logits - logits.detach().amax(-1, keepdim=True)) / temperature


def _log_buckets(logits: Tensor, indices: Tensor, temperature: float, drop: Tensor | None = None) -> Tensor:
    """In plain operations. The tail is the sum of what is in it: one minus the rest would leave no digits."""
    lq = _scaled(logits, temperature, drop).log_softmax(-1)
    indices = indices.long()
    if indices.shape[-1] == logits.shape[-1]:
        tail = torch.full_like(lq[..., :1], MASKED)
    else:
        tail = lq.scatter(-1, indices, -float("inf")).logsumexp(-1, keepdim=True)
    return torch.cat((lq.gather(-1, indices), tail), -1).clamp_min(MASKED)
