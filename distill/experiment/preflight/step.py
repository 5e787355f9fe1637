"""One training step, taken apart: how hard each term pulls at the student, and what the step needs in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from distill.training.hardware import Hardware
from distill.training.module import DistillModule
from distill.training.parameters import OptimizerFactory
from distill.types import Batch


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a stage needs on each device, by what for.

    weights: of all networks. activations: kept from the forward pass for the backward pass; the largest part of
    most. images: those that live in memory.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    images: int

    @property
    def total(self) -> int:
        """Of all parts."""
        return sum(getattr(self, part.name) for part in fields(self))


@dataclass(frozen=True, slots=True)
class Step:
    """What one step showed.

    pulls: by term, the norm of its gradient at the student's parameters.
    idle: terms without a gradient anywhere, at the student or at what the method trains.
    memory: what such steps need.
    """

    pulls: dict[str, float]
    idle: list[str]
    memory: Memory


def measure(module: DistillModule, batch: Batch, batch_size: int, images: int, hardware: Hardware) -> Step:
    """Take a training step apart, without moving a weight; BatchNorm's statistics do move.

    Args:
        module: what is trained.
        batch: a few samples, on any device.
        batch_size: how many a real batch has; activations grow with it.
        images: bytes of the images that live in memory.
        hardware: where, and in which precision.
    """
    plugin, device = hardware.plugin, hardware.device
    module = plugin.convert_module(module).to(device).train()  # type: ignore[assignment]
    batch = plugin.convert_input(move_data_to_device(batch, device))
    students = [parameter for parameter in module.student.parameters() if parameter.requires_grad]
    methods = [parameter for parameter in module.method.parameters() if parameter.requires_grad]
    with plugin.forward_context():
        activations = _activations(module, batch, batch_size)
        terms = _terms(module, batch)
    pulls = {name: _pull(term, students) for name, term in terms.items()}
    memory = Memory(
        weights=sum(weight.nbytes for weight in _weights(module)),
        gradients=sum(parameter.nbytes for parameter in students + methods),
        optimizer=_optimizer_bytes(module.optimizer_factory, students + methods),
        activations=activations,
        images=images,
    )
    return Step(pulls, [name for name, pull in pulls.items() if pull == 0 == _pull(terms[name], methods)], memory)


def _terms(module: DistillModule, batch: Batch) -> dict[str, Tensor]:
    answers = module.teacher(batch) if module.teacher is not None else None
    terms: dict[str, Tensor] = module.method(module.student(batch.inputs), answers, batch)
    return terms


def _weights(module: DistillModule) -> Iterator[Tensor]:
    for network in (module, module.teacher):
        if network is not None:
            yield from network.parameters()
            yield from network.buffers()


def _activations(module: DistillModule, batch: Batch, batch_size: int) -> int:
    """Bytes kept for the backward pass at `batch_size`, on the line through those of the batch and of its half: some,
    such as weights cast to half precision, don't grow with it."""
    count = len(batch)
    half = batch.map(lambda part: part[: count // 2].clone())
    known = {weight.untyped_storage().data_ptr() for weight in _weights(module)}
    whole = _bytes_kept(module, batch, known)
    if batch_size == count or count < 4:
        return whole * batch_size // count
    each = (whole - _bytes_kept(module, half, known)) / (count - count // 2)
    return int(whole + each * (batch_size - count))


def _bytes_kept(module: DistillModule, batch: Batch, known: set[int]) -> int:
    """What autograd keeps of a forward pass, storages at the `known` addresses left out."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        terms = _terms(module, batch)
    del terms  # alive until here, or addresses would be used again
    return sum(kept.values())


def _pull(term: Tensor, parameters: list[nn.Parameter]) -> float:
    """The norm of a term's gradient at the parameters; 0 where it doesn't depend on them."""
    if not (term.requires_grad and parameters):
        return 0.0
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    norms = [gradient.float().norm() for gradient in gradients if gradient is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0


def _optimizer_bytes(factory: OptimizerFactory, parameters: list[nn.Parameter]) -> int:
    """What the optimizer keeps once it has taken a step, found on parameters of the same shapes."""
    others = [nn.Parameter(torch.zeros_like(parameter)) for parameter in parameters]
    for parameter in others:
        parameter.grad = torch.zeros_like(parameter)
    if not others:
        return 0
    optimizer = factory(others)
    optimizer.step(lambda: 0.0)
    return sum(
        value.nbytes for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)
    )
