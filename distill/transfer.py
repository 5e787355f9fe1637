"""From the processor's memory to a device's, and back without asking the device."""

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

STAGED = 1 << 16  # bytes of ordinary memory that CUDA sets aside at once
_ON_PROCESSOR: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device, without waiting for what that has yet to do.

    Of much memory, a GPU would have to fetch the last part before we may go on: it goes by pinned memory. To devices
    other than CUDA's it is sent in the plain way: they may read it late, when it holds something else.
    """
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    if tensor.nbytes > STAGED and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def sent_indices(indices: Tensor, device: torch.device) -> Tensor:
    """(N,) indices from the processor on a device, of which `indices_on_processor` knows where they came from."""
    there = sent(indices, device)
    if there is not indices:
        _ON_PROCESSOR[there] = indices
    return there


def indices_on_processor(indices: Tensor) -> Tensor:
    """The same on the processor; without waiting for the device where `sent_indices` sent this very tensor."""
    known: Tensor | None = _ON_PROCESSOR.get(indices)
    return indices.cpu() if known is None else known
