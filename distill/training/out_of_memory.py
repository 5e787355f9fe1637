"""What to change where memory runs out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from distill.errors import SettingError


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, a GPU's or the machine's."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


@contextmanager
def advice_where_memory_runs_out(batch_size: int, accumulated: int, precision: str) -> Iterator[None]:
    """Turn the error of an allocation into one line with the settings that would help.

    Args:
        batch_size: data.batch_size. accumulated: trainer.accumulate_grad_batches. precision: trainer.precision.

    Raises:
        SettingError: memory ran out within.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        ways = ["a smaller network"]
        if not precision.startswith(("bf16", "16")):
            ways.insert(0, "trainer.precision=bf16-mixed")
        if batch_size > 1:
            half = -(-batch_size // 2)
            as_large = f"data.batch_size={half} trainer.accumulate_grad_batches={2 * accumulated}"
            ways.insert(0, f"{as_large} (as many samples in each step)")
        raise SettingError(
            f"data.batch_size={batch_size}: memory ran out{_figures(str(error))}; what takes less: {', or '.join(ways)}"
        ) from error


def _figures(said: str) -> str:
    """How much was asked for, and how much there is, where PyTorch or NumPy tells."""
    asked = re.search(r"(?:ried|Unable) to allocate ([\d.]+ ?\w+)", said)
    free = re.search(r"total capacity of ([\d.]+ \w+) of which ([\d.]+ \w+) is free", said)
    told = [f"{asked[1]} asked for"] if asked else []
    if free:
        told.append(f"{free[2]} of {free[1]} free")
    return f" ({', '.join(told)})" if told else ""
