"""What a process computes on, and how many others there are: what Lightning makes of the trainer's settings."""

from dataclasses import dataclass

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.strategies import Strategy


@dataclass(frozen=True, slots=True)
class Hardware:
    """Devices and processes.

    device: of this process.
    devices: how many this machine has in use. nodes: how many machines.
    world_size: processes on all of them, this one included.
    plugin: computes in the trainer's precision.
    environment: tells processes of each other; None where there is but one.
    """

    device: torch.device
    devices: int
    nodes: int
    world_size: int
    plugin: Precision
    environment: ClusterEnvironment | None

    @classmethod
    def of(cls, strategy: Strategy) -> "Hardware":
        """What a strategy of Lightning's runs on."""
        return cls(
            device=strategy.root_device,
            devices=len(getattr(strategy, "parallel_devices", None) or [strategy.root_device]),
            nodes=getattr(strategy, "num_nodes", 1),
            world_size=getattr(strategy, "world_size", 1),
            plugin=strategy.precision_plugin,
            environment=getattr(strategy, "cluster_environment", None),
        )
