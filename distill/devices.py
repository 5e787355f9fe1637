"""Asynchronous copies from the CPU to a device, and TF32 on GPUs."""

import torch
from torch import Tensor

STAGED = 1 << 16  # bytes of ordinary memory that CUDA sets aside at once


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device, without waiting for what that has yet to do.

    Of much memory, a GPU would have to fetch the last part before we may go on: it goes by pinned memory. To devices
    other than CUDA's it is sent in the plain way: they may read it late, when it holds something else.
    """
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    if tensor.nbytes > STAGED and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def allow_tf32(allowed: bool) -> None:
    """Whether GPUs may round the factors of float32 products to TF32, 10 bits of mantissa; nothing without a GPU."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed


def tf32_on(device: torch.device) -> bool:
    """Whether float32 is rounded to TF32 on a device, as far as it can."""
    return device.type == "cuda" and torch.backends.cudnn.allow_tf32
