"""From the CPU's memory to a device's, and back without asking the device."""

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

STAGED = 1 << 16  # bytes of ordinary memory that CUDA sets aside at once
_ON_CPU: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


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


def indices_to_device(indices: Tensor, device: torch.device) -> Tensor:
    """(N,) indices from the CPU on a device, of which `indices_on_cpu` knows where they came from."""
    there = to_device(indices, device)
    if there is not indices:
        _ON_CPU[there] = indices
    return there


def indices_on_cpu(indices: Tensor) -> Tensor:
    """The same on the CPU; without waiting for the device where `indices_to_device` sent this very tensor."""
    known: Tensor | None = _ON_CPU.get(indices)
    return indices.cpu() if known is None else known


def allow_tf32(allowed: bool) -> None:
    """Whether GPUs may round the factors of float32 products to TF32, 10 bits of mantissa; nothing without a GPU."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed


def tf32_on(device: torch.device) -> bool:
    """Whether float32 is rounded to TF32 on a device, as far as it can."""
    return device.type == "cuda" and torch.backends.cudnn.allow_tf32
