"""A second CUDA stream, for the teacher's forward pass beside the student's."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class SideStream:
    """A CUDA stream beside the one that training runs on; on other devices, things are done in turn.

    What is done in `work` may run while the GPU does what is asked of it next, until `join`. It begins when all is done
    that was asked for before. So memory is safe in both directions: what `work` reads stays until `join`, and what it
    makes is given away again only to the next `work`. What both read, neither may write. The memory that `work` takes
    for a while is its own: it cannot be that which training takes meanwhile.

    Not yet run on a GPU.
    """

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None

    @contextmanager
    def work(self, device: torch.device) -> Iterator[None]:
        """A context for what is to be done beside what follows it."""
        if device.type != "cuda":
            yield
            return
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            yield

    def join(self) -> None:
        """From here on, the results of `work` can be used. The GPU waits for them, not the host."""
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)
