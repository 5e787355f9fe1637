"""Fully sharded training (FSDP2): every process keeps a part of the student's weights and of the optimizer's state.

Weights are gathered block by block where a pass needs them, and gradients are averaged into the part that a process
keeps. The result is that of `trainer=ddp`, in less memory: weights, gradients and the optimizer's state are divided by
the number of processes. Source: PyTorch FSDP, arXiv 2304.11277; `torch.distributed.fsdp.fully_shard`.
"""

from collections.abc import Iterator
from typing import Any

from pytorch_lightning.strategies import ModelParallelStrategy, Strategy, StrategyRegistry
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from distill.errors import SettingError
from distill.models.frozen import copied_network
from distill.models.network import Network
from distill.teachers import LiveTeacher, Teacher

FSDP = "fsdp2"  # trainer.strategy


class FullySharded(ModelParallelStrategy):
    """Lightning's strategy for FSDP2, with the weights shared out over all processes and checkpoints in one file."""

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Meet the other processes; how many there are is known only now."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    @property
    def shares(self) -> DeviceMesh:
        """The processes that weights are shared out over."""
        return self.device_mesh["data_parallel"]


StrategyRegistry.register(FSDP, FullySharded, description="FSDP2: weights and optimizer state are shared out")


def share_out(strategy: Strategy | None, student: Network, method: nn.Module, teacher: Teacher | None) -> None:
    """Under FullySharded, have each process keep its part of what is trained, and of a teacher that wants it."""
    if not isinstance(strategy, FullySharded):
        return
    for part in (student.backbone, method):
        if strategy._layer_sync is not None:
            strategy._layer_sync.apply(part)  # layers take another class, which has to come before the parts do
        shard(part, strategy.shares)
    if isinstance(teacher, LiveTeacher) and teacher.shard:
        teacher.network = copied_network(teacher.network)  # the network itself is asked again at the end
        shard(teacher.network.backbone, strategy.shares)


def shard(network: nn.Module, shares: DeviceMesh) -> None:
    """Have each process keep its part of a network's parameters, from here on `DTensor`s.

    Blocks, which are the parts of lists and sequences, are gathered one at a time; what stands outside of them is
    gathered for the whole pass. A network that is shared out already stays as it is.
    """
    if isinstance(network, FSDPModule) or not any(True for _ in network.parameters()):
        return
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()  # in place of channels last, which fully_shard refuses
    for block in _blocks(network):
        fully_shard(block, mesh=shares)
    trained = any(parameter.requires_grad for parameter in network.parameters())
    fully_shard(network, mesh=shares, reshard_after_forward=not trained)  # a backward pass would gather it again


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The parts of lists and sequences that have parameters; of nested ones the outermost."""
    for child in network.children():
        if isinstance(network, nn.ModuleList | nn.Sequential) and not isinstance(child, nn.ModuleList | nn.Sequential):
            if any(True for _ in child.parameters()):
                yield child
        else:
            yield from _blocks(child)


def check_shared_out(method: nn.Module, *, deploys: bool) -> None:
    """Raise SettingError for a method that cannot be trained in parts.

    Args:
        method: what is trained beside the student.
        deploys: whether the network that is kept in the end has parts of it.
    """
    scalars = [name for name, parameter in method.named_parameters() if parameter.ndim == 0]
    if deploys or scalars:
        why = "it adds a part to the student" if deploys else f"{scalars[0]} is one number, which has no parts"
        raise SettingError(
            f"trainer.strategy={FSDP}: {type(method).__name__} cannot be shared out over processes ({why}); "
            "use trainer=ddp"
        )


def whole_weights(network: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers of a network that is shared out, in every process; all have to ask at once."""
    weights: dict[str, Any] = get_model_state_dict(network, options=StateDictOptions(full_state_dict=True))
    return weights
