"""From the processor's memory to a device's."""

import torch
from torch import Tensor

STAGED = 1 << 16  # bytes of ordinary memory that CUDA sets aside at once


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
