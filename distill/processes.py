"""What the processes of a training tell each other. Each function here has to be called in all of them at once.

The loss of a training on P processes is the mean of theirs, and that is what data-parallel training differentiates. So
the functions of tensors are differentiable as parts of the sum of all processes' losses.
"""

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

T = TypeVar("T")


def process_and_count() -> tuple[int, int]:
    """Which of how many processes this is: its rank and their number; (0, 1) for one that is alone."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def of_all_processes(value: T) -> list[T]:
    """The value of each process, by rank, in all of them; one value where there is one."""
    _, count = process_and_count()
    values: list[T] = [value] * count
    if count > 1:
        dist.all_gather_object(values, value)
    return values


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes, each of which gives one of this shape; in one process, the tensor."""
    return x if process_and_count()[1] == 1 else _Sum.apply(x)


def joined_over_processes(x: Tensor) -> Tensor:
    """(N, ...) tensors of all processes, one after the other by rank: (all, ...). N may differ between them."""
    _, count = process_and_count()
    if count == 1:
        return x
    numbers = [x.new_zeros((), dtype=torch.long) for _ in range(count)]
    dist.all_gather(numbers, numbers[0] + len(x))
    joined: Tensor = _Join.apply(x, [int(number) for number in numbers])
    return joined


def own_part(joined: Tensor) -> Tensor:
    """The (N, ...) rows that this process gave to `joined_over_processes`, of as many in each."""
    rank, count = process_and_count()
    return joined.chunk(count)[rank]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, numbers: list[int]) -> Tensor:
        ctx.numbers = numbers
        padded = x.new_zeros(max(numbers), *x.shape[1:])
        padded[: len(x)] = x.detach()
        parts = [torch.empty_like(padded) for _ in numbers]
        dist.all_gather(parts, padded)
        return torch.cat([part[:number] for part, number in zip(parts, numbers, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.split(ctx.numbers)[dist.get_rank()], None
