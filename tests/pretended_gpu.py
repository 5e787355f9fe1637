"""A GPU that isn't there, for tests of what has the host wait for it, mixes devices, or asks for what it hasn't.

Its tensors are torch's FakeTensors, which know their shape, dtype and device and hold nothing. What only concerns the
CPU is done for real. There is no backward pass: autograd's engine wants a real device.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda", 0)
aten = torch.ops.aten
WAITING = {aten._linalg_eigh.default, aten._linalg_svd.default}  # which FakeTensors do not know of
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


class HostWaitsError(AssertionError):
    """The host would wait for all that the GPU has yet to do."""


@contextmanager
def pretended_gpu(monkeypatch: Any, *, has_float64: bool = True) -> Iterator[Callable[[Any], Any]]:
    """Within, tensors can be on `GPU`; gives what sends tensors, modules, tuples and mappings of tensors there."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    fake = FakeTensorMode(allow_non_fake_inputs=True)

    def send(what: Any) -> Any:
        if isinstance(what, Tensor):
            sent = what if isinstance(what, FakeTensor) else fake.from_tensor(what.detach())
            return sent.to(GPU, non_blocking=True).detach().requires_grad_(what.requires_grad)
        if isinstance(what, nn.Module):
            for module in what.modules():
                for kept in (module._parameters, module._buffers):
                    kept.update({name: send(value) for name, value in kept.items() if value is not None})
            return what
        if isinstance(what, Mapping):
            return {name: send(value) for name, value in what.items()}
        return type(what)(*map(send, what)) if isinstance(what, Sequence) else what

    with fake, _Watched(has_float64):
        yield send


def _indices(args: Any) -> list[Any]:
    return tree_leaves(args[1]) if args[0].is_cuda else []


class _Watched(TorchDispatchMode):
    def __init__(self, has_float64: bool) -> None:
        super().__init__()
        self.has_float64 = has_float64

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        target = kwargs.get("device")
        if not any(isinstance(x, FakeTensor) for x in tensors) and (target is None or target.type != "cuda"):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func in WAITING or (
            func in INDEXING and any(isinstance(x, Tensor) and not x.is_cuda for x in _indices(args))
        ):
            raise HostWaitsError(str(func))
        try:
            made = func(*args, **kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise HostWaitsError(str(func)) from error
        results = [x for x in tree_leaves(made) if isinstance(x, Tensor)]
        if not self.has_float64 and any(x.is_cuda and x.dtype == torch.float64 for x in results):
            raise TypeError(f"{func} makes float64 on a GPU that has none")
        places = {x.device.type for x in (*tensors[:2], *results)}
        if func in (aten._to_copy.default, aten.copy_.default) and len(places) == 2:
            flagged = kwargs.get("non_blocking", False) or (len(args) > 2 and args[2])
            to_host = (made if func is aten._to_copy.default else args[0]).device.type == "cpu"
            if to_host or not flagged:
                raise HostWaitsError(f"{func} {tensors[-1].device} to {made.device}, non_blocking={flagged}")
        return made


def pretended_streams(monkeypatch: Any) -> list[str]:
    """Streams that do nothing; gives the list that grows by who waits for whom, and by what begins and ends."""
    said: list[str] = []

    class Stream:
        device = GPU

        def __init__(self, name: object) -> None:
            self.name = "training" if name == "training" else "aside"

        def wait_stream(self, other: "Stream") -> None:
            said.append(f"{self.name} waits for {other.name}")

    @contextmanager
    def working_on(stream: Stream) -> Iterator[None]:
        said.append(f"{stream.name} begins")
        yield
        said.append(f"{stream.name} ends")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: Stream("training"))
    monkeypatch.setattr(torch.cuda, "stream", working_on)
    return said
